import type { Clock } from "../runtime/clock.ts";
import { Pause } from "../runtime/pause.ts";

/** A bounded set of pieces of work that run at once. */
export class Slots {
  readonly #max: number;
  readonly #running = new Set<Promise<unknown>>();
  readonly #pause = new Pause();

  constructor(max: number) {
    this.#max = max;
  }

  get taken(): number {
    return this.#running.size;
  }

  get room(): number {
    return this.#max - this.#running.size;
  }

  get full(): boolean {
    return this.#running.size >= this.#max;
  }

  /** Resolves as soon as a piece of work ends, `stop` aborts, or `ms` have passed. One caller at a time. */
  async ended(clock: Clock, ms: number, stop: AbortSignal): Promise<void> {
    await this.#pause.wait(clock, ms, stop);
  }

  /** `work` must not reject. */
  occupy(work: Promise<unknown>): void {
    const entry = work.finally(() => {
      this.#running.delete(entry);
      this.#pause.end();
    });
    this.#running.add(entry);
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}
