/**
 * What the rules of the log (log.ts, claim.ts, follow.ts) need of a record: ordered bytes per job, appended by
 * compare-and-set, and a live path that may lose anything. JetStream and memory implement it; the simulator disturbs
 * it.
 */
export interface Journal {
  /**
   * One try to append `bytes` if the job's last sequence is `after` (0: none). An `id` seen within the dedupe window is
   * answered with its first outcome.
   */
  append(jobId: string, bytes: Uint8Array, after: number, id: string): Promise<Appended>;
  /** The job's first entry; never stale. */
  first(jobId: string): Promise<Entry | null>;
  /** The last entry of every job, in the order they were stored. */
  lasts(): AsyncIterable<Entry & { readonly jobId: string }>;
  /** The job's last entry; never stale. UNAVAILABLE when no answer comes in time. */
  last(jobId: string): Promise<Entry | null>;
  /** Like `last` but cheap, and perhaps a moment old. */
  glance(jobId: string): Promise<Entry | null>;
  /**
   * Up to `max` entries after a sequence, oldest first, without gaps; perhaps not the newest. A single one is cheap.
   */
  page(jobId: string, after: number, max: number): Promise<readonly Entry[]>;
  purge(jobId: string): Promise<void>;
  /**
   * The clock that stamps `storedMs`; claims are judged by it and by no other. May be an estimate from a reading some
   * seconds old, unless that gives less than `seenMs`; infinite: never.
   */
  nowMs(seenMs?: number): Promise<number>;
  /** How full the log is, 0 to 1; at most a second old. */
  fill(): Promise<number>;
  /** Tells listeners, without any promise; without `hurry` perhaps a moment later, together with something else. */
  announce(jobId: string, bytes: Uint8Array, hurry: boolean): void;
  /**
   * Calls back for announcements, and with null when some may have been missed, until the returned function is called.
   */
  listen(jobId: string, callback: (bytes: Uint8Array | null) => void): () => void;
}

export interface Entry {
  readonly sequence: number;
  /** By the record's clock. */
  readonly storedMs: number;
  readonly id: string;
  readonly bytes: Uint8Array;
}

export type Appended =
  | { readonly kind: "stored"; readonly sequence: number }
  /** Another entry came first. */
  | { readonly kind: "refused" }
  /** `why`: what to do, if more than this is full. */
  | { readonly kind: "full"; readonly why?: string }
  /** No answer: it may be stored or not. */
  | { readonly kind: "unknown"; readonly cause: unknown };
