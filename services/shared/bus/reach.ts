import type { Clock } from "../runtime/clock.ts";
import { type ErrorCode, ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { toldOf } from "./away.ts";

/** What processes ask of the record without end, and what is said where they ask in vain. */
const LOST = {
  work: "no work can be pulled",
  beat: "the record does not take this worker's sign of life",
  jobs: "the open jobs cannot be looked at",
  keys: "the API keys cannot be read; those known go on",
  batches: "the batches cannot be looked at",
} as const;
type Need = keyof typeof LOST;

/** Between two lines of a trouble that lasts. */
const AGAIN_MS = 60_000;

/** Some of what is needed is asked for in vain. */
interface Trouble {
  readonly sinceMs: number;
  toldMs: number;
  /** Of the errors that were told. */
  readonly codes: Set<ErrorCode>;
}

/** Whether a process reaches what it needs of the record. Logged when it does not any more, then once a minute and for each other kind of error, and when it does again. */
export class Reach {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #changed: (problem: string | null) => void;
  readonly #failing = new Set<Need>();
  #trouble: Trouble | null = null;

  /** `changed` hears of each change: what is wrong, for people, or null. */
  constructor(log: Logger, clock: Clock, changed: (problem: string | null) => void = () => {}) {
    this.#log = log;
    this.#clock = clock;
    this.#changed = changed;
  }

  failed(need: Need, thrown: unknown): void {
    const nowMs = this.#clock.monotonicMs();
    const error = ServingError.from(thrown);
    this.#failing.add(need);
    if (this.#trouble === null) this.#changed(`${LOST[need]}: ${error.message}`);
    this.#trouble ??= { sinceMs: nowMs, toldMs: nowMs, codes: new Set() };
    const { codes, toldMs } = this.#trouble;
    if (codes.has(error.code) && nowMs - toldMs < AGAIN_MS) return;
    codes.add(error.code);
    this.#trouble.toldMs = nowMs;
    this.#log.warn({ ...this.#lasts(this.#trouble), ...stackOf(error) }, `${this.#lost()}: ${toldOf(error)}`);
  }

  worked(need: Need): void {
    if (!this.#failing.delete(need) || this.#failing.size > 0 || this.#trouble === null) return;
    this.#log.info(this.#lasts(this.#trouble), "the record does its part again");
    this.#trouble = null;
    this.#changed(null);
  }

  #lost(): string {
    return [...this.#failing].map((need) => LOST[need]).join(", ");
  }

  #lasts({ sinceMs }: Trouble): { readonly lastsMs: number } {
    return { lastsMs: Math.round(this.#clock.monotonicMs() - sinceMs) };
  }
}

/** Of a defect alone: an outage is told in words. */
const stackOf = (error: ServingError): object => (error.code === "INTERNAL" ? { err: error.cause ?? error } : {});
