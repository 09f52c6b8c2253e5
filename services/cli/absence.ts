import { systemClock } from "../shared/runtime/clock.ts";
import { ServingError } from "../shared/runtime/errors.ts";

const AGAIN_MS = 1_000;
/** How long the cluster may not answer to a command that waits for it. */
export const AWAY_MS = 300_000;

/** Is told that the API is away, and that it is there, as often as it is found so. */
export type OnAway = (away: boolean) => void;

/** Says where the API goes away and where it comes back, once each time: minutes without a word look like a command that hangs. */
export function sayingAway(url: string, say: (text: string) => void): OnAway {
  let was = false;
  return (away) => {
    if (away !== was) say(away ? `no answer from ${url}, trying again` : `${url} answers again`);
    was = away;
  };
}

/** Asks again while the cluster is away, for AWAY_MS since it was found so. What is not `passing` is thrown at once. */
export async function acrossAbsence<T>(
  ask: () => Promise<T>,
  onAway: OnAway,
  passing: (error: ServingError) => boolean = ({ retryable }) => retryable,
): Promise<T> {
  for (let awayMs: number | null = null; ; await systemClock.sleep(AGAIN_MS)) {
    try {
      const answer = await ask();
      onAway(false);
      return answer;
    } catch (error) {
      const nowMs = systemClock.monotonicMs();
      awayMs ??= nowMs; // what was on its way until then may have taken longer
      if (!(error instanceof ServingError && passing(error)) || nowMs - awayMs > AWAY_MS) throw error;
      onAway(true);
    }
  }
}
