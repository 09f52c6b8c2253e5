import type { Claim, Message } from "../bus/contract.ts";
import type { JobEvent, JobRequest, LogRecord } from "../bus/events.ts";
import type { Clock } from "../runtime/clock.ts";
import { requestOf } from "./history.ts";
import { Interrupted } from "./interrupted.ts";
import { Turn } from "./turn.ts";

/** Most events of a log that is sent along with a message; a longer log is read by the job's next claimant. */
const LOG_MAX = 8;
/** Progress is appended about four times a second: enough to watch, too little to fill the log. */
const PROGRESS_MS = 250;

interface Progress {
  readonly done: number;
  readonly total: number;
  /** Absent until the store has been searched. */
  readonly cached?: number;
}

interface HoldRules {
  readonly clock: Clock;
  readonly claimMs: number;
  /** The shortest turn; infinite where a job keeps its place to the end. */
  readonly turnMs: number;
  /** The record's clock minus this machine's monotonic clock. */
  readonly recordAheadMs: number;
}

/**
 * A job this worker holds. The claim is the right to append and is kept by progress alone; losing it aborts `signal`,
 * as do a cancel and the deadline. Its message is touched only here and in settle.ts, directly after an accepted append
 * of our own; claim-job.ts handles the messages of jobs that are not ours to do.
 */
export class HeldJob {
  readonly claim: Claim;
  readonly message: Message;
  readonly request: JobRequest;
  /** The log as it was when the job was claimed. */
  readonly history: readonly LogRecord[];
  readonly turn: Turn;
  /** Segments stored in this claim. */
  stored = 0;
  /** Indices of segments the store did not take: a successor would have to compute again what follows them. */
  readonly unstored = new Set<number>();
  #log: readonly LogRecord[] | null;
  readonly #clock: Clock;
  readonly #claimMs: number;
  /**
   * The deadline on this machine's monotonic clock, derived from the record's clock because wall clocks may be minutes
   * apart.
   */
  readonly #dueMs: number;
  readonly #stop = new AbortController();
  #progress: Progress;
  #appendedMs: number;
  #telling = false;
  #ended: LogRecord | null = null;
  #handBack: Interrupted | null = null;

  constructor(claim: Claim, message: Message, history: readonly LogRecord[], { clock, claimMs, turnMs, recordAheadMs }: HoldRules) {
    this.claim = claim;
    this.message = message;
    this.history = history;
    this.#log = history;
    this.request = requestOf(history);
    this.#clock = clock;
    this.#claimMs = claimMs;
    this.turn = new Turn(clock, turnMs, history);
    const { promptTokens } = this.request;
    this.#progress = { done: claim.phase === "decode" ? promptTokens : 0, total: promptTokens };
    this.#appendedMs = clock.monotonicMs();
    this.#dueMs = this.request.deadlineMs - recordAheadMs;
  }

  get jobId(): string {
    return this.claim.jobId;
  }
  /** Tokens done in this phase, earlier turns included: of the prompt in prefill, of the answer in decode. */
  get tokensDone(): number {
    return this.claim.phase === "prefill" ? Math.max(this.turn.stoodAt, this.#progress.done) : this.claim.tokenCount;
  }
  /** Whether it may give up its place: its turn is over, and its work is stored. */
  get turnIsOver(): boolean {
    return this.turn.over && this.stored > 0 && this.unstored.size === 0;
  }
  /** Aborts with the reason: an Interrupted, or the error of an append. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }
  /** The event that ended this worker's part, once accepted. */
  get ended(): LogRecord | null {
    return this.#ended;
  }

  /** The whole log as it is now, for the job's next worker; undefined if it is long. */
  get log(): readonly LogRecord[] | undefined {
    return this.#log ?? undefined;
  }

  interrupt(reason: unknown): void {
    if (this.#ended === null) this.#stop.abort(reason);
  }

  /** Asks for the job to be handed back: the engine finishes what it is computing, then `check` throws `reason`. */
  handBack(reason: Interrupted): void {
    this.#handBack = reason;
  }
  /** Whether it is to be handed back and is still ours. */
  get leaving(): boolean {
    return this.#handBack !== null && !this.signal.aborted;
  }

  /** Throws what interrupted the job, the deadline included. Called between chunks and steps. */
  check(): void {
    this.expireIfDue();
    this.#stop.signal.throwIfAborted();
    if (this.#handBack !== null) throw this.#handBack;
  }

  expireIfDue(): void {
    if (this.#clock.monotonicMs() >= this.#dueMs) this.interrupt(new Interrupted("expired", "the deadline passed"));
  }

  /** Appends an event that keeps the claim. Throws Interrupted (lost) when it is refused. */
  async append(event: JobEvent): Promise<void> {
    await this.#append(event);
    this.message.working();
  }

  /** Appends the event that ends this worker's part; the caller then acks or naks. */
  async end(event: JobEvent): Promise<void> {
    await this.#append(event, (record) => {
      this.#ended = record;
    });
  }

  /** Appends progress at once. */
  async tell(progress: Progress): Promise<void> {
    this.#note(progress);
    await this.append({ type: "progress", ...progress, stored: this.stored });
  }

  /** Records progress, and appends it at most every PROGRESS_MS. Never waits. */
  progress(progress: Progress): void {
    this.#note(progress);
    this.#tell(PROGRESS_MS);
  }

  #note(progress: Progress): void {
    this.#progress = progress;
    this.turn.reached(progress.done);
  }

  /**
   * Something advanced, perhaps for another job: a job that waits its turn in a live engine, or for segments that
   * arrive, keeps its claim.
   */
  pulse(): void {
    this.expireIfDue();
    this.#tell(this.#claimMs / 3);
  }

  /**
   * Keeps the claim while `work` runs, which reports no progress. `work` must settle whatever happens, or the claim is
   * kept forever.
   */
  async keptWhile<T>(work: Promise<T>): Promise<T> {
    let over = () => {};
    const again = () => {
      over = this.#clock.after(this.#claimMs / 3, () => {
        this.pulse();
        again();
      });
    };
    again();
    try {
      return await work;
    } finally {
      over();
    }
  }

  #tell(everyMs: number): void {
    if (this.#telling || this.#ended !== null || this.signal.aborted) return;
    if (this.#clock.monotonicMs() - this.#appendedMs < everyMs) return;
    this.#telling = true;
    void this.append({ type: "progress", ...this.#progress, stored: this.stored })
      .catch((thrown: unknown) => this.interrupt(thrown))
      .finally(() => {
        this.#telling = false;
      });
  }

  async #append(event: JobEvent, accepted?: (record: LogRecord) => void): Promise<void> {
    const record = await this.claim.append(event);
    if (record === null) {
      const lost = new Interrupted("lost", "another worker holds the job");
      this.interrupt(lost);
      throw lost;
    }
    this.#log = this.#log === null || this.#log.length >= LOG_MAX ? null : [...this.#log, record];
    this.#appendedMs = this.#clock.monotonicMs();
    accepted?.(record);
  }
}
