import type { Clock } from "../../shared/runtime/clock.ts";
import { Pause } from "../../shared/runtime/pause.ts";

/** About as long as one that was let in takes for its jobs. */
const WAIT_MS = 1_000;
/** Whoever waits holds what he sent. */
const WAITING_MAX = 64;

/**
 * The requests with an Idempotency-Key that this process let in and whose jobs are not all in the record yet, by what the record knows the key as. Who comes
 * with such a key, and is not let in, waits for them: they are his, too, and paid for. No more of them than were let in.
 */
export class Making {
  readonly #clock: Clock;
  /** Those who wait for each. */
  readonly #made = new Map<string, Set<Pause>>();
  #waiting = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(key: string): boolean {
    return this.#made.has(key);
  }

  /** Call the result, once, when all its jobs are in the record or will not come. Of two with one key the first is waited for. */
  begin(key: string): () => void {
    if (this.#made.has(key)) return () => {};
    const waiting = new Set<Pause>();
    this.#made.set(key, waiting);
    return () => {
      this.#made.delete(key);
      for (const pause of waiting) pause.end();
    };
  }

  /**
   * Until the jobs that are made under `key` are there, at most a second, and no longer than whoever waits is there: `onLeaving` calls back when he is not,
   * until what it returns is called. At once where none are made, or as many wait as may.
   */
  async wait(key: string, onLeaving: (act: () => void) => () => void): Promise<void> {
    const waiting = this.#made.get(key);
    if (waiting === undefined || this.#waiting >= WAITING_MAX) return;
    const pause = new Pause();
    const noMatter = onLeaving(() => pause.end());
    waiting.add(pause);
    this.#waiting++;
    await pause.wait(this.#clock, WAIT_MS);
    this.#waiting--;
    waiting.delete(pause);
    noMatter();
  }
}
