import type { Claim, Message } from "../bus/contract.ts";
import type { JobEvent, JobRequest, LogRecord } from "../bus/events.ts";
import type { Clock } from "../runtime/clock.ts";
import { requestOf } from "./history.ts";
import { Interrupted } from "./interrupted.ts";
import { Turn } from "./turn.ts";

/** Of a longer log whoever claims the job next reads what he needs. */
const LOG_MAX = 8;
/** Progress is told about four times a second: enough to watch, too little to fill the log. */
const PROGRESS_MS = 250;

interface Progress {
  readonly done: number;
  readonly total: number;
  /** Absent until what is stored was looked for. */
  readonly cached?: number;
}

interface HoldRules {
  readonly clock: Clock;
  readonly claimMs: number;
  /** The shortest turn; infinite where jobs keep their places. */
  readonly turnMs: number;
  /** What the record's clock shows more than this machine's monotonic one. */
  readonly recordAheadMs: number;
}

/**
 * A job this worker holds. The claim is the right to append and is kept by progress alone; losing it aborts `signal`, as do a cancel and
 * the deadline. Its message is touched only here and in settle.ts, right after an append of our own was accepted; that of a job which
 * is not ours to do, in claim-job.ts.
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
  /** Indices of those that the store did not take: whoever goes on would have to compute again what is behind them. */
  readonly unstored = new Set<number>();
  #log: readonly LogRecord[] | null;
  readonly #clock: Clock;
  readonly #claimMs: number;
  /** The deadline on this machine's clock: set by the record's, because wall clocks may be minutes apart. */
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
  /** Tokens done in this phase, in this turn and those before: of the prompt, or of the answer. */
  get tokensDone(): number {
    return this.claim.phase === "prefill" ? Math.max(this.turn.stoodAt, this.#progress.done) : this.claim.tokenCount;
  }
  /** Whether it may give up its place for others: it kept it long enough, and what it did is stored. */
  get turnIsOver(): boolean {
    return this.turn.over && this.stored > 0 && this.unstored.size === 0;
  }
  /** Aborts with the reason: an Interrupted, or the error of an append. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }
  /** What ended this worker's part, once it was accepted. */
  get ended(): LogRecord | null {
    return this.#ended;
  }

  /** The whole log as it is now, for whoever comes next; undefined where it is long. */
  get log(): readonly LogRecord[] | undefined {
    return this.#log ?? undefined;
  }

  interrupt(reason: unknown): void {
    if (this.#ended === null) this.#stop.abort(reason);
  }

  /** Others shall go on with the job: `check` will throw `reason`, but what the engine computes right now is finished. */
  handBack(reason: Interrupted): void {
    this.#handBack = reason;
  }
  /** To be handed back, and still ours. */
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

  /** Tells how far the work is. */
  async tell(progress: Progress): Promise<void> {
    this.#note(progress);
    await this.append({ type: "progress", ...progress, stored: this.stored });
  }

  /** Notes how far the work is, and tells it now and then. Never waits. */
  progress(progress: Progress): void {
    this.#note(progress);
    this.#tell(PROGRESS_MS);
  }

  #note(progress: Progress): void {
    this.#progress = progress;
    this.turn.reached(progress.done);
  }

  /** Something moves, perhaps for a neighbour: a job that waits its turn in a live engine, or for segments that arrive, keeps its claim. */
  pulse(): void {
    this.expireIfDue();
    this.#tell(this.#claimMs / 3);
  }

  /** Keeps the claim while `work` is waited for, of which nothing is told before its end: so it must have one, whatever happens. */
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
