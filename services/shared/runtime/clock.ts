import { setTimeout as sleep } from "node:timers/promises";

/** Time, passed in wherever it matters, so that the simulator can run the same code on a clock of its own. */
export interface Clock {
  /** Wall clock, ms since 1970: for deadlines and time stamps that leave the process. */
  nowMs(): number;
  /** Monotonic, ms: for durations. */
  monotonicMs(): number;
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /**
   * Calls `act` once after `ms`, unless the returned function is called before. For code that waits often: it costs a
   * tenth of a `sleep` with a signal.
   */
  after(ms: number, act: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    signal?.throwIfAborted();
    try {
      await sleep(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  },
  after: (ms, act) => {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
};
