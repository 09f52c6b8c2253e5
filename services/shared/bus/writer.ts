import type { Clock } from "../runtime/clock.ts";
import type { ServingError } from "../runtime/errors.ts";
import { encodeLive, encodeRecord, mayFit } from "./codec.ts";
import type { JobEvent, LogRecord } from "./events.ts";
import type { Journal } from "./journal.ts";
import { type Append, untilKnown } from "./known.ts";
import { advance, type Standing } from "./standing.ts";
import { AppendWaits, type OnWait } from "./waits.ts";

/** What an append needs of the event before: where the job stands, and the sequence to append after. */
export type Tip = Standing & { readonly sequence: number };

/** Appends single events by compare-and-set and makes every outcome known, with or without a claim. */
export class Writer {
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #closing: AbortSignal;
  readonly #waits: AppendWaits;

  constructor(journal: Journal, clock: Clock, closing: AbortSignal, onWait: OnWait = () => {}) {
    this.#journal = journal;
    this.#clock = clock;
    this.#closing = closing;
    this.#waits = new AppendWaits(clock, onWait);
  }

  /**
   * The record once it is in the log, null if another event came first. `id` must be this append's alone. Without an
   * answer the append is repeated with the same id, for about `ms`; then throws UNAVAILABLE, and the outcome stays
   * unknown. Throws OVERLOADED, and stores nothing, when the log is full: at once, or after that time if it `waits` for
   * room.
   */
  async append(jobId: string, tip: Tip, event: JobEvent, id: string, ms: number, waits = false): Promise<LogRecord | null> {
    const draft: LogRecord = {
      jobId,
      sequence: 0,
      previous: tip.sequence,
      ...standingOf(advance(tip, event)),
      atMs: this.#clock.nowMs(),
      event,
    };
    const bytes = encodeRecord(draft);
    const append = {
      where: "the job log",
      id,
      once: () => this.#journal.append(jobId, bytes, tip.sequence, id),
      last: () => this.#journal.last(jobId),
      waits,
    };
    const sequence = await this.#untilKnown(append, ms);
    if (sequence === null) return null;
    const record = { ...draft, sequence };
    // No reader listens to a job before it is submitted, and its request may be large: only its message needs it, if it
    // fits.
    if (event.type !== "submitted")
      this.#journal.announce(jobId, encodeLive(record, bytes), event.type !== "claimed" && event.type !== "progress");
    else if (mayFit(record)) encodeLive(record, bytes);
    return record;
  }

  async #untilKnown(append: Omit<Append, "failed">, ms: number): Promise<number | null> {
    const beganMs = this.#clock.monotonicMs();
    const failed = (why: ServingError) => this.#waits.failed(append.id, beganMs, why);
    try {
      const sequence = await untilKnown({ ...append, failed }, this.#clock, ms, this.#closing);
      this.#waits.ended(append.id, "over");
      return sequence;
    } catch (thrown) {
      this.#waits.ended(append.id, "given up");
      throw thrown;
    }
  }
}

const standingOf = ({ epoch, phase, attempt, tokenCount }: Standing): Standing => ({ epoch, phase, attempt, tokenCount });
