import type { LogRecord } from "../bus/events.ts";
import type { Clock } from "../runtime/clock.ts";
import { furthest } from "./history.ts";

/** A turn goes on for at least so many times as long as it took to repeat what had been done. */
const GAIN = 4;

/**
 * How long a job keeps its place at least, though others wait. It repeats what turns before it did: what was stored is loaded, and what was lost is
 * computed again. So whatever becomes of the store, each turn but the last gains four times what it repeats.
 */
export class Turn {
  /** Tokens of the prompt that were done in the turns before. */
  readonly stoodAt: number;
  readonly #clock: Clock;
  readonly #turnMs: number;
  #begunMs = 0;
  #loadMs = 0;
  #firstMs: number | null = null;
  #overMs = Number.POSITIVE_INFINITY;

  /** `turnMs`: the shortest turn; infinite where jobs keep their places. */
  constructor(clock: Clock, turnMs: number, history: readonly LogRecord[]) {
    this.#clock = clock;
    this.#turnMs = turnMs;
    this.stoodAt = furthest(history);
  }

  /** The job has its place now. */
  begin(): void {
    this.#begunMs = this.#clock.monotonicMs();
  }

  /** What was stored is here. Then the job may wait for its neighbours' chunks: that repeats nothing. */
  loaded(): void {
    this.#loadMs = this.#clock.monotonicMs() - this.#begunMs;
  }

  /** So much of the prompt is done; first, where the sequence was opened. */
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
