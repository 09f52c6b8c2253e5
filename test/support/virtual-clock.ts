import type { Clock } from "../../services/shared/runtime/clock.ts";

interface Sleeper {
  readonly dueMs: number;
  readonly wake: () => void;
}

/** Time that passes only when nothing else can happen: a run of hours takes as long as its work. */
export class VirtualClock implements Clock {
  #elapsedMs = 0;
  readonly #sleepers = new Set<Sleeper>();

  nowMs(): number {
    return 1_700_000_000_000 + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const settle = (act: () => void) => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", stop);
        act();
      };
      const stop = () => settle(() => reject(signal?.reason));
      const sleeper = { dueMs: this.#elapsedMs + Math.max(0, ms), wake: () => settle(resolve) };
      signal?.addEventListener("abort", stop, { once: true });
      this.#sleepers.add(sleeper);
    });
  }

  /** Lets time pass until `work` is done. */
  async run<T>(work: Promise<T>): Promise<T> {
    let running = true;
    const done = work.finally(() => {
      running = false;
    });
    done.catch(() => {});
    while (running) {
      await new Promise(setImmediate);
      if (running) this.#wakeNext();
    }
    return done;
  }

  #wakeNext(): void {
    let next: Sleeper | null = null;
    for (const sleeper of this.#sleepers) if (next === null || sleeper.dueMs < next.dueMs) next = sleeper;
    if (next === null) return;
    this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
    next.wake();
  }
}
