import { systemClock } from "../shared/runtime/clock.ts";
import { ServingError } from "../shared/runtime/errors.ts";

/** How far apart it is asked meanwhile. */
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

const isRetryable = ({ retryable }: ServingError): boolean => retryable;

/** How long the cluster has been away for one who asks it again and again. */
export class Absence {
  readonly #onAway: OnAway;
  readonly #passing: (error: ServingError) => boolean;
  readonly #maxMs: number;
  #sinceMs: number | null = null;

  /** `maxMs` 0: nothing is waited for. */
  constructor(onAway: OnAway, passing = isRetryable, maxMs = AWAY_MS) {
    this.#onAway = onAway;
    this.#passing = passing;
    this.#maxMs = maxMs;
  }

  /** It is not: what goes wrong now is found anew. */
  ended(): void {
    this.#sinceMs = null;
  }

  /** Resolves when it is time to ask again. Throws `error` where that does not pass, or the cluster has been away for too long since it was found so. */
  async outlast(error: unknown): Promise<void> {
    const nowMs = systemClock.monotonicMs();
    this.#sinceMs ??= nowMs; // what was on its way until then may have taken longer
    const isOver = this.#maxMs === 0 || nowMs - this.#sinceMs > this.#maxMs;
    if (isOver || !(error instanceof ServingError && this.#passing(error))) throw error;
    this.#onAway(error);
    await systemClock.sleep(AGAIN_MS);
  }
}

/** Asks again while the cluster is away. `ask` tells where it came further than ever. What is not `passing` is thrown at once. */
export async function acrossAbsence<T>(
  ask: (cameFurther: () => void) => Promise<T>,
  onAway: OnAway,
  passing?: (error: ServingError) => boolean,
): Promise<T> {
  const absence = new Absence(onAway, passing);
  for (;;) {
    try {
      const answer = await ask(() => absence.ended());
      onAway(null);
      return answer;
    } catch (error) {
      await absence.outlast(error);
    }
  }
}
