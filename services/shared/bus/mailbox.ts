import type { Clock } from "../runtime/clock.ts";
import { Pause } from "../runtime/pause.ts";

/**
 * Between the live path, which must never wait, and one reader, which may be slow: beyond `max` messages it drops all
 * and says so.
 */
export class Mailbox<T> {
  readonly #max: number;
  readonly #pause = new Pause();
  #messages: T[] = [];
  #missed = false;

  constructor(max: number) {
    this.#max = max;
  }

  put(message: T): void {
    if (this.#missed) return;
    if (this.#messages.length === this.#max) this.miss();
    else this.#messages.push(message);
    this.#pause.end();
  }

  /** Messages may have been lost: the reader has to look elsewhere. */
  miss(): void {
    this.#messages = [];
    this.#missed = true;
    this.#pause.end();
  }

  /** The next message; null if some were missed, or none came within `ms`. */
  async take(clock: Clock, ms: number): Promise<T | null> {
    if (this.#messages.length === 0 && !this.#missed) await this.#pause.wait(clock, ms);
    this.#missed = false;
    return this.#messages.shift() ?? null;
  }
}
