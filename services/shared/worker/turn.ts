import type { LogRecord } from "../bus/events.ts";
import type { Clock } from "../runtime/clock.ts";
import { furthest } from "./history.ts";

/** A turn lasts at least this many times as long as repeating earlier work took. */
const GAIN = 4;

/**
 * The shortest time a job keeps its place while others wait. A turn first repeats earlier ones: what was stored is
 * loaded, and what was lost is computed again. So whatever becomes of the store, each turn but the last gains four
 * times what it repeats.
 */
export class Turn {
  /** Prompt tokens done in earlier turns. */
  readonly stoodAt: number;
  readonly #clock: Clock;
  readonly #turnMs: number;
  #begunMs = 0;
  #loadMs = 0;
  #firstMs: number | null = null;
  #overMs = Number.POSITIVE_INFINITY;

  /** `turnMs`: the shortest turn; infinite where a job keeps its place to the end. */
  constructor(clock: Clock, turnMs: number, history: readonly LogRecord[]) {
    this.#clock = clock;
    this.#turnMs = turnMs;
    this.stoodAt = furthest(history);
  }

  /** The job has its place now. */
  begin(): void {
    this.#begunMs = this.#clock.monotonicMs();
  }

  /** What was stored is loaded. From here the job may wait for other jobs' chunks, which repeats nothing. */
  loaded(): void {
    this.#loadMs = this.#clock.monotonicMs() - this.#begunMs;
  }

  /** `done` prompt tokens are done. The first call is for where the sequence was opened. */
  reached(done: number): void {
    const nowMs = this.#clock.monotonicMs();
    this.#firstMs ??= nowMs;
    if (done < this.stoodAt || this.#overMs < Number.POSITIVE_INFINITY) return;
    this.#overMs = nowMs + Math.max(this.#turnMs, GAIN * (this.#loadMs + nowMs - this.#firstMs));
  }

  get over(): boolean {
    return this.#clock.monotonicMs() >= this.#overMs;
  }
}
