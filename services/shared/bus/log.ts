import type { Clock } from "../runtime/clock.ts";
import { ServingError } from "../runtime/errors.ts";
import { backoffMs, Pause } from "../runtime/pause.ts";
import type { Random } from "../runtime/random.ts";
import { HeldClaim } from "./claim.ts";
import { decodeRecord, encodeRequest } from "./codec.ts";
import type { ClaimResult, JobLog } from "./contract.ts";
import { isDamaged, type OnDamage, unlessDamaged } from "./damage.ts";
import { isTerminal, type JobEvent, type JobRequest, type LogRecord, type Phase, type StoredRecord } from "./events.ts";
import { follow, PAGE, upTo } from "./follow.ts";
import type { Entry, Journal } from "./journal.ts";
import { holds, quietMs, type Standing, unborn } from "./standing.ts";
import type { OnWait } from "./waits.ts";
import { type Tip, Writer } from "./writer.ts";

export interface LogRules {
  /** A claim without an event for this long may be taken over. */
  readonly claimMs: number;
  /** Claims in a row that led nowhere before a job is handed out only to be failed. */
  readonly attemptsMax: number;
  /** How long a question to the record may take. */
  readonly answerMs: number;
  /** How long a claim holder tries to learn whether its append was stored. */
  readonly appendMs: number;
  /** Called for each event that cannot be read, whenever it is read. */
  readonly onDamage?: OnDamage;
  /** Called about appends that wait. */
  readonly onWait?: OnWait;
}

/** Above this part of the log's size nothing new is admitted, so that running jobs always have room. */
const ADMIT_UP_TO = 0.8;

type Claimed = ClaimResult & { readonly kind: "claimed" };

/** Who may append to a job, and what follows from it (docs/architecture.md), over any journal. */
export class FencedLog implements JobLog {
  readonly #journal: Journal;
  readonly #rules: LogRules;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #closing: AbortSignal;
  readonly #writer: Writer;

  constructor(journal: Journal, rules: LogRules, clock: Clock, random: Random, closing: AbortSignal) {
    this.#journal = journal;
    this.#rules = rules;
    this.#clock = clock;
    this.#random = random;
    this.#closing = closing;
    this.#writer = new Writer(journal, clock, closing, rules.onWait);
  }

  async submit(jobId: string, request: JobRequest): Promise<LogRecord> {
    if ((await this.#journal.fill()) >= ADMIT_UP_TO) throw new ServingError("OVERLOADED", "the job log is nearly full; try again later");
    const record = await this.#append(jobId, { ...unborn, sequence: 0 }, { type: "submitted", request });
    if (record !== null) return record;
    const first = await this.first(jobId);
    if (first?.event.type === "submitted" && Buffer.compare(encodeRequest(first.event.request), encodeRequest(request)) === 0) return first;
    throw new ServingError("CONFLICT", `${jobId} is already the id of another job; submit under a new id`);
  }

  async first(jobId: string): Promise<LogRecord | null> {
    const entry = await this.#journal.first(jobId);
    return entry === null ? null : this.#decode(jobId, entry);
  }

  async last(jobId: string): Promise<LogRecord | null> {
    const entry = await this.#journal.last(jobId);
    return entry === null ? null : this.#decode(jobId, entry);
  }

  async lastStored(jobId: string): Promise<StoredRecord | null> {
    const entry = await this.#journal.last(jobId);
    return entry === null ? null : this.#stored(jobId, entry);
  }

  async *lasts(): AsyncGenerator<StoredRecord> {
    for await (const entry of this.#journal.lasts()) yield this.#stored(entry.jobId, entry);
  }

  nowMs(seenMs?: number): Promise<number> {
    return this.#journal.nowMs(seenMs);
  }

  async read(jobId: string): Promise<LogRecord[]> {
    const last = await this.last(jobId);
    return last === null ? [] : this.#readTo(last);
  }

  async storedTimes(jobId: string): Promise<ReadonlyMap<number, number>> {
    const times = new Map<number, number>();
    for (let position: number | undefined = 0; position !== undefined; ) {
      const page: readonly Entry[] = await this.#journal.page(jobId, position, PAGE);
      for (const { sequence, storedMs } of page) times.set(sequence, storedMs);
      position = page.length === PAGE ? page.at(-1)?.sequence : undefined;
    }
    return times;
  }

  /** The log up to `last`, which is known; less where the job is deleted meanwhile. */
  async #readTo(last: LogRecord): Promise<LogRecord[]> {
    const records: LogRecord[] = [];
    const endMs = this.#clock.monotonicMs() + this.#rules.answerMs;
    for (let tries = 0; ; tries++) {
      const position = records.at(-1)?.sequence ?? 0;
      for await (const record of upTo(this.#journal, this.#decode, last, position)) records.push(record);
      if ((records.at(-1)?.sequence ?? 0) >= last.sequence) return records;
      if (this.#clock.monotonicMs() > endMs)
        throw new ServingError("UNAVAILABLE", `a replica of the record lags behind job ${last.jobId}; try again`);
      await new Pause().wait(this.#clock, backoffMs(tries), this.#closing);
      if ((await this.#journal.last(last.jobId)) === null) return records;
    }
  }

  async claim(jobId: string, phase: Phase, worker: string, hint: readonly LogRecord[] = []): Promise<ClaimResult> {
    const claimed = this.#isClaimable(jobId, hint, phase) ? await this.#claimed(hint.at(-1)!, hint, worker) : null;
    return claimed ?? this.#claimAsRead(jobId, phase, worker);
  }

  async #claimAsRead(jobId: string, phase: Phase, worker: string): Promise<ClaimResult> {
    const entry = await this.#journal.last(jobId);
    if (entry === null) return { kind: "over" };
    const last = this.#decode(jobId, entry);
    if (isTerminal(last.event) || last.phase !== phase) return { kind: "over" };
    if (holds(last.event) && (await this.#isFresh(entry))) return { kind: "held" };
    if (last.attempt >= this.#rules.attemptsMax) {
      const exhausted = await this.#claimed(last, [], worker);
      return exhausted === null ? { kind: "held" } : { kind: "exhausted", claim: exhausted.claim, last };
    }
    // Read before the claim: from then on an attempt counts, and a read may fail.
    const history = await this.#readTo(last);
    if (!this.#isWhole(jobId, history)) return { kind: "over" };
    return (await this.#claimed(last, history, worker)) ?? { kind: "held" };
  }

  /** Whether a log that is exactly `hint` can be claimed: whole, waiting in the phase, with attempts left. */
  #isClaimable(jobId: string, hint: readonly LogRecord[], phase: Phase): boolean {
    const last = hint.at(-1);
    if (last?.jobId !== jobId || hint[0]?.event.type !== "submitted") return false;
    // A record without its place has sequence 0 there, and 0 is also where the log of a deleted job ends.
    if (!hint.every(({ sequence, previous }, i) => previous === (hint[i - 1]?.sequence ?? 0) && sequence > previous)) return false;
    return last.phase === phase && !isTerminal(last.event) && !holds(last.event) && last.attempt < this.#rules.attemptsMax;
  }

  /**
   * Appends the claim behind `last`, which was found claimable; null if that is not the last event any more. `known`
   * may have been read later.
   */
  async #claimed(last: LogRecord, known: readonly LogRecord[], worker: string): Promise<Claimed | null> {
    // Worth repeating for as long as a claim lives: before that, no other worker can take it over.
    const patienceMs = Math.max(this.#rules.claimMs, this.#rules.answerMs);
    const claimed = await this.#append(last.jobId, last, { type: "claimed", worker }, patienceMs);
    if (claimed === null) return null;
    return { kind: "claimed", claim: new HeldClaim(this.#writer, claimed, this.#rules.appendMs), history: [...known, claimed] };
  }

  async appendAfter(last: LogRecord | StoredRecord, event: JobEvent): Promise<boolean> {
    const record = "record" in last ? last.record : last;
    const { jobId, sequence } = last;
    return (await this.#append(jobId, record ?? { ...(await this.#standingBefore(jobId, sequence)), sequence }, event)) !== null;
  }

  /** Where a job stood by the last of its events before `sequence` that can be read. */
  async #standingBefore(jobId: string, sequence: number): Promise<Standing> {
    let standing = unborn;
    for (let position = 0; position < sequence; ) {
      const page = await this.#journal.page(jobId, position, PAGE);
      for (const entry of page) standing = this.#stored(jobId, entry).record ?? standing;
      position = page.at(-1)?.sequence ?? sequence;
    }
    return standing;
  }

  follow(jobId: string, afterSequence: number, signal: AbortSignal, known: readonly LogRecord[] = []): AsyncGenerator<LogRecord> {
    return follow(this.#journal, this.#decode, this.#clock, jobId, afterSequence, [signal, this.#closing], known);
  }

  delete(jobId: string): Promise<void> {
    return this.#journal.purge(jobId);
  }

  /** False for a job that was deleted meanwhile. Throws DAMAGED for one whose beginning is gone. */
  #isWhole(jobId: string, [first]: readonly LogRecord[]): boolean {
    if (first === undefined) return false;
    if (first.event.type === "submitted") return true;
    throw this.#damaged(jobId, first.sequence, new ServingError("DAMAGED", `the log of ${jobId} does not begin with its request`));
  }

  /**
   * Both times are the journal's; the clocks of workers, which may be minutes off, take no part. A claim is over only
   * by a clock that was just asked: an earlier reading may be from before the clock was set back, and every worker
   * would look dead.
   */
  async #isFresh({ storedMs }: Entry): Promise<boolean> {
    for (const seenMs of [storedMs, Number.POSITIVE_INFINITY])
      if (quietMs(storedMs, await this.#journal.nowMs(seenMs)) < this.#rules.claimMs) return true;
    return false;
  }

  /** For writers without a claim. Several may have the same epoch, so a counter would not make their ids unique. */
  #append(jobId: string, tip: Tip, event: JobEvent, ms = this.#rules.answerMs): Promise<LogRecord | null> {
    return this.#writer.append(jobId, tip, event, this.#random.id(`${jobId}:${tip.epoch}:`), ms);
  }

  /** The one place where what the journal holds becomes an event. */
  readonly #decode = (jobId: string, { sequence, bytes }: Entry): LogRecord => {
    try {
      return decodeRecord(jobId, sequence, bytes);
    } catch (error) {
      throw isDamaged(error) ? this.#damaged(jobId, sequence, error) : error;
    }
  };

  #damaged(jobId: string, sequence: number, error: ServingError): ServingError {
    this.#rules.onDamage?.({ jobId, sequence, error });
    return error;
  }

  #stored(jobId: string, entry: Entry): StoredRecord {
    const { sequence, storedMs } = entry;
    return { jobId, sequence, storedMs, record: unlessDamaged(() => this.#decode(jobId, entry)) };
  }
}
