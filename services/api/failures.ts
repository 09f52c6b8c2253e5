import type { Clock } from "../shared/runtime/clock.ts";
import type { ServingError } from "../shared/runtime/errors.ts";
import type { Logger } from "../shared/runtime/log.ts";

/** Between two lines of what many are answered alike. */
const AGAIN_MS = 60_000;
/** Words that are told apart within that time. */
const WORDS_MAX = 8;

/**
 * Tells of requests that failed by no fault of who asked. A defect with its stack, and what is damaged, each time; that something is away, which all are
 * answered as long as it is, once a minute: `alike` were answered the same since the line before. Each of them is named at the level debug.
 */
export class Failures {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #told = new Map<string, { atMs: number; alike: number }>();

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  tell(what: "request failed" | "call failed", of: object, error: ServingError): void {
    if (error.http < 500) return;
    const { code, told: message } = error;
    const alike = code === "UNAVAILABLE" ? this.#alike(message) : 0;
    if (code === "INTERNAL") this.#log.error({ ...of, err: error.cause ?? error }, what);
    else if (alike === null) this.#log.debug({ ...of, code, message }, what);
    else this.#log.warn({ ...of, code, message, ...(alike > 0 && { alike }) }, what);
  }

  /** How many had the same words since they were told; null where they are not to be told yet. */
  #alike(words: string): number | null {
    const nowMs = this.#clock.monotonicMs();
    const known = this.#told.get(words);
    if (known !== undefined && nowMs - known.atMs < AGAIN_MS) {
      known.alike++;
      return null;
    }
    for (const [other, { atMs }] of this.#told) if (other !== words && nowMs - atMs >= 2 * AGAIN_MS) this.#told.delete(other);
    if (known === undefined && this.#told.size >= WORDS_MAX) return null;
    this.#told.set(words, { atMs: nowMs, alike: 0 });
    return known?.alike ?? 0;
  }
}
