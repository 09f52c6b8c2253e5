import type { Clock } from "../shared/runtime/clock.ts";
import type { Logger } from "../shared/runtime/log.ts";

/** The least time between two log lines, while the trouble lasts or comes back. */
const AGAIN_MS = 60_000;

/**
 * Logs that webhooks are not taken: when that begins, then at most once a minute with the number of tries, and when one
 * is taken again.
 */
export class Untaken {
  readonly #log: Logger;
  readonly #clock: Clock;
  #sinceMs: number | null = null;
  #toldMs = Number.NEGATIVE_INFINITY;
  /** Whether its beginning was logged. */
  #isTold = false;
  /** Both since the last line. */
  #tries = 0;
  #givenUp = 0;

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** `isLast`: this was the last try of the end. */
  failed(problem: string, isLast: boolean): void {
    const nowMs = this.#clock.monotonicMs();
    this.#sinceMs ??= nowMs;
    this.#tries++;
    if (isLast) this.#givenUp++;
    if (nowMs - this.#toldMs < AGAIN_MS) return;
    this.#toldMs = nowMs;
    this.#isTold = true;
    this.#log.warn(this.#counted(this.#sinceMs), `webhooks are not taken: ${problem}`);
  }

  worked(): void {
    if (this.#sinceMs === null) return;
    if (this.#isTold) this.#log.info(this.#counted(this.#sinceMs), "webhooks are taken again");
    this.#isTold = false;
    this.#sinceMs = null;
  }

  #counted(sinceMs: number): { readonly lastsMs: number; readonly tries: number; readonly givenUp: number } {
    const counted = { lastsMs: Math.round(this.#clock.monotonicMs() - sinceMs), tries: this.#tries, givenUp: this.#givenUp };
    this.#tries = this.#givenUp = 0;
    return counted;
  }
}
