import type { Logger } from "../runtime/log.ts";

/** What a worker asks of the record without end: work, and that its sign of life is taken. */
type Need = "work" | "beat";

const lost = { work: "no work can be pulled", beat: "the record does not take this worker's sign of life" } as const;

/** Whether a worker reaches what it needs of the record. Logged once when it does not any more, and once when it does again. */
export class Reach {
  readonly #log: Logger;
  readonly #changed: (problem: string | null) => void;
  readonly #failing = new Set<Need>();

  /** `changed` hears of each change: what is wrong, for people, or null. */
  constructor(log: Logger, changed: (problem: string | null) => void) {
    this.#log = log;
    this.#changed = changed;
  }

  failed(need: Need, error: unknown): void {
    const isNew = this.#failing.size === 0;
    this.#failing.add(need);
    if (!isNew) return;
    this.#log.warn({ err: error }, lost[need]);
    this.#changed(`${lost[need]}: ${error instanceof Error ? error.message : String(error)}`);
  }

  worked(need: Need): void {
    if (!this.#failing.delete(need) || this.#failing.size > 0) return;
    this.#log.info("the record does its part again");
    this.#changed(null);
  }
}
