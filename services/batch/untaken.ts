import type { Clock } from "../shared/runtime/clock.ts";
import type { Logger } from "../shared/runtime/log.ts";

/** Between two lines of a trouble that lasts, or comes back. */
const AGAIN_MS = 60_000;

/** Tells where webhooks are told in vain: when that begins, at most once a minute with how many tries it were, and when one is taken again. */
export class Untaken {
  readonly #log: Logger;
  readonly #clock: Clock;
  #sinceMs: number | null = null;
  #toldMs = Number.NEGATIVE_INFINITY;
  /** Whether it is known that it began. */
  #isTold = false;
  /** Since the last line. */
  #tries = 0;
  #givenUp = 0;

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** `isLast`: the end is not told any more. */
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
