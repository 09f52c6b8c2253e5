import type { JobEvent, JobRequest, Lane, LogRecord, Phase, StoredRecord } from "./events.ts";
import type { Storage } from "./storage.ts";

/**
 * The record (JetStream, or memory with the same rules). The log decides, the queue decides nothing (docs/architecture.md).
 *
 *   job      one request, from submitted to exactly one terminal event
 *   log      the events of one job in order; the last one alone says what may happen next
 *   claim    the right to append, gained by appending `claimed` with the next epoch; lost by the first refused append
 *   message  a hint in a queue that a job waits in a phase; touched only after an accepted append of one's own
 */
export interface Bus {
  readonly log: JobLog;
  readonly queue: JobQueue;
  readonly payloads: PayloadStore;
  /**
   * Parts of the files that clients uploaded or that were made for them. Kept longer than payloads, with room of their
   * own.
   */
  readonly files: PayloadStore;
  readonly documents: Documents;
  readonly registry: Registry;
  /**
   * Resolves when the record answers. Rejects with UNAVAILABLE, and what to do, when it does not within `ms`; at once
   * with INVALID_REQUEST when it refuses these settings.
   */
  ready(ms: number): Promise<void>;
  /**
   * Disk and memory of the record's server, to be asked now and then. Null if there is no server. UNAVAILABLE if it
   * does not say.
   */
  storage(): Promise<Storage | null>;
  close(): Promise<void>;
}

export type ClaimResult =
  /** `history`: every event up to the claim itself. */
  | { readonly kind: "claimed"; readonly claim: Claim; readonly history: readonly LogRecord[] }
  /** Ended, unknown, or in another phase: the message may be acked. */
  | { readonly kind: "over" }
  /** A holder appended within the claim time: leave the message alone. */
  | { readonly kind: "held" }
  /** `attemptsMax` claims in a row led nowhere: the caller got the claim to append `failed`. */
  | { readonly kind: "exhausted"; readonly claim: Claim; readonly last: LogRecord };

/**
 * An event that cannot be read affects its job alone: reading it throws DAMAGED, which names it. Nothing is appended
 * behind it until the job's time is over, because a newer version may have written it and be at work.
 */
export interface JobLog {
  /**
   * Appends `submitted` as the first event. Resolves once it is in the record; repeating it for the same id is
   * harmless. CONFLICT if the id holds another job. OVERLOADED when the log is 80 % full, so that running jobs always
   * have room.
   */
  submit(jobId: string, request: JobRequest): Promise<LogRecord>;
  /** The event a job began with: its request. Null for an unknown job. */
  first(jobId: string): Promise<LogRecord | null>;
  last(jobId: string): Promise<LogRecord | null>;
  /** Like `last`, but an event that cannot be read is returned as such, not thrown. */
  lastStored(jobId: string): Promise<StoredRecord | null>;
  /**
   * The last event of every job, in the order they were stored. May lack what is appended meanwhile. UNAVAILABLE when
   * it was cut short.
   */
  lasts(): AsyncIterable<StoredRecord>;
  /**
   * The record's clock: deadlines are set and judged by it, because the clocks of two machines may be minutes apart.
   * `seenMs`, a stamp of the record: if the clock showed less when it was last asked, it is asked again; infinite: in
   * any case.
   */
  nowMs(seenMs?: number): Promise<number>;
  /** The events that are in the log now, in order. */
  read(jobId: string): Promise<LogRecord[]>;
  /** When the record stored each of a job's events, by its clock: sequence to ms. May lack the newest. */
  storedTimes(jobId: string): Promise<ReadonlyMap<number, number>>;
  /**
   * Becomes the writer of a job in `phase`. Appends nothing, so that no attempt counts, unless the whole log is known.
   * `hint`: the log as it was known earlier. If the record finds that it still ends there, nothing is read; else the
   * hint is dropped.
   */
  claim(jobId: string, phase: Phase, worker: string, hint?: readonly LogRecord[]): Promise<ClaimResult>;
  /** For writers without a claim (API, reconciler): appends if `last` is still the last event. False if it is not. */
  appendAfter(last: LogRecord | StoredRecord, event: JobEvent): Promise<boolean>;
  /**
   * Every event after `afterSequence`, past and future, once and in order; ends after a terminal event, when the signal
   * aborts, or when a job it has seen is deleted. Falls back to reading the log whenever the live path leaves a gap or
   * stays silent, and waits while the record is away. `known`: how the log begins, if the caller has just written that
   * and wants all: the record is not asked for it.
   */
  follow(jobId: string, afterSequence: number, signal: AbortSignal, known?: readonly LogRecord[]): AsyncIterable<LogRecord>;
  /** Purges the job's events. */
  delete(jobId: string): Promise<void>;
}

/**
 * The right to append to one job. `append` resolves to the record once the log accepted it, or to null when the claim
 * is lost: from then on the holder stops in silence. An append without an answer is repeated with the same id until its
 * outcome is known.
 */
export interface Claim {
  readonly jobId: string;
  readonly phase: Phase;
  readonly epoch: number;
  readonly attempt: number;
  readonly tokenCount: number;
  readonly lost: boolean;
  append(event: JobEvent): Promise<LogRecord | null>;
}

export interface WorkItem {
  readonly jobId: string;
  /**
   * Sequence of the log record this message follows: publishing the same again within the dedupe window then changes
   * nothing.
   */
  readonly follows?: number;
  readonly promptTokens: number;
  /** Tokens the answer is expected to have: its share of the backlog. */
  readonly outputTokens?: number;
  /** The same for all jobs of a tenant; letters and digits. */
  readonly owner?: string;
  /** The job's whole log when this was sent: a hint for `JobLog.claim`. Left out if it does not fit. */
  readonly log?: readonly LogRecord[];
}

/** A message of a queue, seen from outside. */
export interface Waiting {
  readonly jobId: string;
  readonly model: string;
  readonly lane: Lane;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Empty if the message does not say. */
  readonly owner: string;
}

export interface JobQueue {
  /** Resolves once the queue accepted the message. OVERLOADED when the queue is full. */
  publish(phase: Phase, model: string, lane: Lane, item: WorkItem): Promise<void>;
  /**
   * The next message of a phase and model, of the first lane (`LANES`) that has one. Null when none came within
   * `waitMs` or the signal aborted; UNAVAILABLE when the record could not be asked at the end of that time. `room`: how
   * many the caller would take now, this one included. That many may be fetched together; those not pulled at once go
   * back.
   */
  pull(phase: Phase, model: string, waitMs: number, signal: AbortSignal, room?: number): Promise<Message | null>;
  /** The next message of one lane, if one waits now for which there is no other request; else null, at once. */
  poll(phase: Phase, model: string, lane: Lane): Promise<Message | null>;
  /** Every message of a phase, waiting or in flight. A few requests, however many there are. */
  messages(phase: Phase): Promise<readonly Waiting[]>;
  /** Removes the messages of a job that ended, so that no worker pulls them only to see that. */
  withdraw(phase: Phase, jobId: string): Promise<void>;
  /**
   * Gives out every message of a lane again if a worker asks for one now and gets none: a server that was killed may
   * believe that a worker has a message. Resolves to whether it did. A message that a worker does have then comes to
   * another, which finds in the log that the job is held.
   */
  renew(phase: Phase, model: string, lane: Lane): Promise<boolean>;
}

/** Fire and forget by nature: none of these is fenced, none decides anything. */
export interface Message {
  readonly item: WorkItem;
  readonly phase: Phase;
  readonly lane: Lane;
  /** Times this message was delivered, this one included: a hint. */
  readonly deliveries: number;
  working(): void;
  ack(): void;
  nak(delayMs: number): void;
}

/** What a store holds, and may hold. */
export interface Room {
  readonly bytes: number;
  readonly bytesMax: number;
}

/** Prompts too large for a message, up to `payloadBytesMax` each. */
export interface PayloadStore {
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Null if absent. */
  get(key: string): Promise<Uint8Array | null>;
  delete(key: string): Promise<void>;
  /** Of all payloads. */
  room(): Promise<Room>;
}

/** What batches and files are described by, and the ends of jobs that webhooks have to tell (`event`), which have room of their own. */
export type DocumentKind = "file" | "batch" | "event";

/** A small text of a tenant's. Its place grows with every write to any document of its kind: `put` behind a place is a compare-and-set. */
export interface Document {
  readonly tenant: string;
  readonly id: string;
  readonly text: string;
  readonly place: number;
  /** By the record's clock (`JobLog.nowMs`). */
  readonly storedMs: number;
}

export interface Documents {
  /** Writes if the document lies at `after` (0: nowhere) and resolves to its new place, or to null if it does not. OVERLOADED when there is no room. UNAVAILABLE leaves open whether it was written. */
  put(kind: DocumentKind, tenant: string, id: string, text: string, after: number): Promise<number | null>;
  get(kind: DocumentKind, tenant: string, id: string): Promise<Document | null>;
  /** Documents behind a place, of one tenant or of all (null), in the order they were last written: at most `max`, and fewer where they are large. None: there are no more. */
  behind(kind: DocumentKind, tenant: string | null, after: number, max: number): Promise<readonly Document[]>;
  /** The highest place that a document of this kind, or of others beside it, ever had. */
  end(kind: DocumentKind): Promise<number>;
  delete(kind: DocumentKind, tenant: string, id: string): Promise<void>;
  /** How often the record was away, as far as is known: it may have come back with less than it had. */
  interruptions(): number;
  /** Of the documents of batches and files, and what it takes to keep them. */
  room(): Promise<Room>;
}

/** A note or a mark, and its place in the order in which they were made. Places grow and are used once. */
export interface Noted {
  readonly place: number;
  readonly jobId: string;
  readonly text: string;
  /** By the record's clock. */
  readonly notedMs: number;
}

/** What is kept of an API key, and its place in the order in which keys were kept. */
export interface KeptKey {
  readonly place: number;
  readonly id: string;
  readonly text: string;
}

/** Small things, most with a life time. All derived or short lived, except API keys, idempotency keys and cancel marks. */
export interface Registry {
  /** One process's sign of life, kept for a few seconds; JSON of its own. */
  beat(role: string, id: string, value: string): Promise<void>;
  beats(role: string): Promise<ReadonlyMap<string, string>>;
  retire(role: string, id: string): Promise<void>;
  /** The value of `key` if it was set within a day; else sets it to `value` and resolves to null. */
  remember(key: string, value: string): Promise<string | null>;
  /** What is remembered of `key`, perhaps as of a moment ago; null: nothing. */
  recall(key: string): Promise<string | null>;
  markCancelled(jobId: string, by: string): Promise<void>;
  /** Perhaps as of a moment ago: a job's holder looks again and again. */
  cancelMark(jobId: string): Promise<string | null>;
  /** The marks behind a place, oldest first. */
  cancelMarks(after: number, max: number): Promise<readonly Noted[]>;
  /**
   * Calls back for every cancel mark set until `signal` aborts; resolves once it listens. A nudge: may be missed;
   * `cancelMark` decides.
   */
  onCancel(callback: (jobId: string) => void, signal: AbortSignal): Promise<void>;
  /** Puts a job, or what is new about it, at the head of the job index. */
  noteJob(jobId: string, text: string): Promise<void>;
  /** The notes behind a place in the index, oldest first. */
  notes(after: number, max: number): Promise<readonly Noted[]>;
  /**
   * The highest place a note ever had. If it is below one that was seen, the record lost its end and uses those places
   * again.
   */
  indexEnd(): Promise<number>;
  /** Keeps why a job failed, as long as its log. */
  noteFailure(jobId: string, text: string): Promise<void>;
  /** The jobs that failed, latest first. */
  failures(limit: number): Promise<readonly Noted[]>;
  /** The place in the index up to which every job is known to have ended; null if unknown. A hint that saves work. */
  lowWater(): Promise<number | null>;
  raiseLowWater(place: number): Promise<void>;
  /** Drops what is kept about a job: its note, its mark, why it failed. */
  forget(jobId: string): Promise<void>;
  /** The index, latest note first. */
  jobs(limit: number): Promise<readonly Noted[]>;
  /** Keeps what is known of an API key, replacing what was kept. */
  keepKey(id: string, text: string): Promise<void>;
  /** Drops what is kept of an API key. */
  forgetKey(id: string): Promise<void>;
  /** What was kept of API keys behind a place, oldest first. */
  keptKeys(after: number, max: number): Promise<readonly KeptKey[]>;
}
