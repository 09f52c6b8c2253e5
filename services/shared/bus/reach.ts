import type { Clock } from "../runtime/clock.ts";
import { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { toldOf } from "./away.ts";

/** What processes ask of the record without end, and what is said where they ask in vain. */
const LOST = {
  work: "no work can be pulled",
  beat: "the record does not accept this worker's heartbeat",
  jobs: "the open jobs cannot be looked at",
  keys: "the API keys cannot be read; those known go on",
  batches: "the batches cannot be looked at",
  webhooks: "the ends that webhooks tell cannot be looked at",
} as const;
type Need = keyof typeof LOST;

/** Between two lines of a trouble that lasts. */
const AGAIN_MS = 60_000;
/** Words of as many errors are told before a minute is over. */
const WORDS_MAX = 8;

/** Some of what is needed is asked for in vain. */
interface Trouble {
  readonly sinceMs: number;
  toldMs: number;
  /** What went wrong, in words that were told. */
  readonly words: Set<string>;
}

/**
 * Whether a process reaches what it needs of the record. Logged when it does not any more, then once a minute and where something else goes wrong, and when it
 * does again.
 */
export class Reach {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #changed: (problem: string | null) => void;
  readonly #failing = new Map<Need, ServingError>();
  #trouble: Trouble | null = null;
  #problem: string | null = null;

  /** `changed` hears of each change: what is wrong, for people, or null. */
  constructor(log: Logger, clock: Clock, changed: (problem: string | null) => void = () => {}) {
    this.#log = log;
    this.#clock = clock;
    this.#changed = changed;
  }

  failed(need: Need, thrown: unknown): void {
    const nowMs = this.#clock.monotonicMs();
    const error = ServingError.from(thrown);
    this.#failing.set(need, error);
    this.#tellChange();
    this.#trouble ??= { sinceMs: nowMs, toldMs: Number.NEGATIVE_INFINITY, words: new Set() };
    const { words, toldMs } = this.#trouble;
    if ((words.has(toldOf(error)) || words.size >= WORDS_MAX) && nowMs - toldMs < AGAIN_MS) return;
    words.add(toldOf(error));
    this.#trouble.toldMs = nowMs;
    this.#log.warn({ ...this.#lasts(this.#trouble), ...stackOf(error) }, this.#lost());
  }

  worked(need: Need): void {
    if (!this.#failing.delete(need)) return;
    this.#tellChange();
    if (this.#failing.size > 0 || this.#trouble === null) return;
    this.#log.info(this.#lasts(this.#trouble), "NATS answers again");
    this.#trouble = null;
  }

  /** Of the first that fails. */
  #tellChange(): void {
    const [first] = this.#failing;
    const problem = first === undefined ? null : `${LOST[first[0]]}: ${first[1].message}`;
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#changed(problem);
  }

  /** All that fails, by what is wrong with it. */
  #lost(): string {
    const lost = new Map<string, string[]>();
    for (const [need, error] of this.#failing) lost.set(toldOf(error), [...(lost.get(toldOf(error)) ?? []), LOST[need]]);
    return [...lost].map(([why, needs]) => `${needs.join(", ")}: ${why}`).join("; ");
  }

  #lasts({ sinceMs }: Trouble): { readonly lastsMs: number } {
    return { lastsMs: Math.round(this.#clock.monotonicMs() - sinceMs) };
  }
}

/** Of a defect alone: an outage is told in words. */
const stackOf = (error: ServingError): object => (error.code === "INTERNAL" ? { err: error.cause ?? error } : {});
