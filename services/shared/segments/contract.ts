import type { Allocate, Memory } from "../runtime/memory.ts";

/** 43 characters of base64url: SHA-256 over everything the rows depend on. Made only by keys.ts. */
export type SegmentKey = string & { readonly brand: "segment" };

/** What a stored value claims to be. Written into its header, compared on every read. */
export interface ValueHead {
  readonly kind: "segment" | "boundary";
  readonly fingerprint: Uint8Array;
  readonly layout: string;
  /** segment: first token and count. boundary: position and 0. */
  readonly firstToken: number;
  readonly tokenCount: number;
  readonly firstLayer: number;
  readonly layerCount: number;
}

/**
 * Keeps sealed segments and boundaries. A value is immutable and named by what it was computed from, so a repeated put
 * is harmless and nothing here needs a lock. A store may forget any value at any time; a miss is work, never an error,
 * and a store that is away altogether behaves like an empty one (design I5): every method resolves within its deadline.
 */
export interface SegmentStore {
  /** How many leading keys are present. A hint; `get` decides. */
  countPrefix(keys: readonly SegmentKey[]): Promise<number>;
  /**
   * The payload in memory from `allocate`, verified against head and checksum; null if absent or damaged. Damage is
   * counted and logged.
   */
  get(key: SegmentKey, head: ValueHead, allocate: Allocate): Promise<Memory | null>;
  /**
   * True once stored, false if the store could not take it (away, full): the caller goes on either way. `payload` is
   * only read. Rejects with INTERNAL for a head or a size that the format cannot hold: our own mistake.
   */
  put(key: SegmentKey, head: ValueHead, payload: Uint8Array): Promise<boolean>;
  /**
   * Announces that `owner` computes this value now, for `ttlMs`; false while another owner's claim lives. Repeating it
   * renews the claim. A store that is away answers true.
   */
  claim(key: SegmentKey, owner: string, ttlMs: number): Promise<boolean>;
  /** Ends a claim of `owner`; no effect on anyone else's. */
  unclaim(key: SegmentKey, owner: string): Promise<void>;
  close(): Promise<void>;
}

/** Counters of one store since it was opened. Every `get` ends as exactly one hit, miss, damage or failure. */
export interface StoreStats {
  readonly hits: number;
  readonly misses: number;
  /** Values found and refused. */
  readonly damaged: number;
  /** Operations the store could not do: away, full, too slow. */
  readonly failures: number;
  /** Payload bytes fetched. */
  readonly bytesOut: number;
  /** Values put, by kind; `bytes` of payload. */
  readonly stored: Readonly<Record<ValueHead["kind"], { readonly puts: number; readonly bytes: number }>>;
  /** `damaged` and `failures` by their reason. */
  readonly damagedBy: Readonly<Record<string, number>>;
  readonly failuresBy: Readonly<Record<string, number>>;
}

/** A store that counts what it does. */
export interface CountedStore extends SegmentStore {
  stats(): StoreStats;
}
