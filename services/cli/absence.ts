import { systemClock } from "../shared/runtime/clock.ts";
import { ServingError } from "../shared/runtime/errors.ts";

const AGAIN_MS = 1_000;
/** How long the cluster may not answer to a command that waits for it. */
export const AWAY_MS = 300_000;

/** Is told why the API cannot be used, and with null that it can, as often as it is found so. */
export type OnAway = (why: ServingError | null) => void;

/** Says where the API goes away and where it comes back, once each time: minutes without a word look like a command that hangs. */
export function sayingAway(url: string, say: (text: string) => void): OnAway {
  const there = `${url} answers again`;
  let last = there;
  return (why) => {
    const text = why === null ? there : `${why.code === "OVERLOADED" ? `${url} is busy` : `no answer from ${url}`}, trying again`;
    if (text !== last) say(text);
    last = text;
  };
}

/**
 * Asks again while the cluster is away, for AWAY_MS since it was found so. `ask` tells where it came further than ever: what goes wrong then is
 * found anew. What is not `passing` is thrown at once.
 */
export async function acrossAbsence<T>(
  ask: (cameFurther: () => void) => Promise<T>,
  onAway: OnAway,
  passing: (error: ServingError) => boolean = ({ retryable }) => retryable,
): Promise<T> {
  let awayMs: number | null = null;
  const cameFurther = () => {
    awayMs = null;
  };
  for (; ; await systemClock.sleep(AGAIN_MS)) {
    try {
      const answer = await ask(cameFurther);
      onAway(null);
      return answer;
    } catch (error) {
      const nowMs = systemClock.monotonicMs();
      awayMs ??= nowMs; // what was on its way until then may have taken longer
      if (!(error instanceof ServingError && passing(error)) || nowMs - awayMs > AWAY_MS) throw error;
      onAway(error);
    }
  }
}
