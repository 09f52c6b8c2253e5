/**
 * What a record must be able to do so that the rules of the log (log.ts, claim.ts, follow.ts) can stand on it: ordered bytes per job,
 * appended by compare-and-set, and a live path that may lose anything. JetStream and memory implement it; the simulator disturbs it.
 */
export interface Journal {
  /** One try to append `bytes` if the job's last sequence is `after` (0: none). An `id` seen within the dedupe window is answered with its first outcome. */
  append(jobId: string, bytes: Uint8Array, after: number, id: string): Promise<Appended>;
  /** The job's first entry, as its keeper knows it. */
  first(jobId: string): Promise<Entry | null>;
  /** The last entry of every job, in the order they were stored. */
  lasts(): AsyncIterable<Entry & { readonly jobId: string }>;
  /** The job's last entry, as its keeper knows it: never stale. UNAVAILABLE when nobody answers in time. */
  last(jobId: string): Promise<Entry | null>;
  /** Like `last` but cheap, and perhaps a moment old. */
  glance(jobId: string): Promise<Entry | null>;
  /** Up to `max` entries after a sequence, oldest first, without holes; perhaps not the newest. A single one is cheap. */
  page(jobId: string, after: number, max: number): Promise<readonly Entry[]>;
  purge(jobId: string): Promise<void>;
  /** The clock that stamps `storedMs`, read now or a little in the past, unless it was before `seenMs` (or that is infinite) then: claims are judged by it and by no other. */
  nowMs(seenMs?: number): Promise<number>;
  /** How full the log is, 0 to 1; at most a second old. */
  fill(): Promise<number>;
  /** Tells whoever listens, without any promise; without hurry perhaps a moment later, together with something else. */
  announce(jobId: string, bytes: Uint8Array, hurry: boolean): void;
  /** Calls back for announcements, and with null when some may have been missed, until the returned function is called. */
  listen(jobId: string, callback: (bytes: Uint8Array | null) => void): () => void;
}

export interface Entry {
  readonly sequence: number;
  /** By the keeper's clock. */
  readonly storedMs: number;
  readonly id: string;
  readonly bytes: Uint8Array;
}

export type Appended =
  | { readonly kind: "stored"; readonly sequence: number }
  /** Another entry came first. */
  | { readonly kind: "refused" }
  /** `why`: what is to be done where more than this has no room. */
  | { readonly kind: "full"; readonly why?: string }
  /** No answer: it may be stored or not. */
  | { readonly kind: "unknown"; readonly cause: unknown };
