import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/log.ts";
import type { Allocate, Memory } from "../runtime/memory.ts";
import type { CountedStore, SegmentKey, StoreStats, ValueHead } from "./contract.ts";
import { acceptHeader, encodeHeader, HEADER_BYTES, refusePayload } from "./format.ts";
import { type Sums, zlibSums } from "./sums.ts";
import { Tally } from "./tally.ts";

interface MemoryStoreOptions {
  /** Bound of headers and payloads together; the least recently used values go first. */
  readonly bytesMax: number;
  /** How long an unused value is kept. */
  readonly ttlMs: Readonly<Record<ValueHead["kind"], number>>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Replaces zlib's CRC-32. */
  readonly sums?: Sums | null;
}

interface Entry {
  /** Header and payload, as any store keeps them. */
  readonly value: Uint8Array;
  readonly ttlMs: number;
  expiresMs: number;
}

/** Beyond this many claims the oldest are forgotten: two jobs may then compute the same. */
const CLAIMS_MAX = 65_536;

/** The store of the embedded cluster and of the simulator: one process, same rules as Redis. */
export class MemoryStore implements CountedStore {
  readonly #options: MemoryStoreOptions;
  readonly #tally: Tally;
  readonly #sums: Sums;
  /** Least recently used first. */
  readonly #entries = new Map<SegmentKey, Entry>();
  readonly #claims = new Map<SegmentKey, { readonly owner: string; readonly expiresMs: number }>();
  #bytes = 0;

  constructor(options: MemoryStoreOptions) {
    this.#options = options;
    this.#tally = new Tally(options.log);
    this.#sums = options.sums ?? zlibSums;
  }

  async countPrefix(keys: readonly SegmentKey[]): Promise<number> {
    const missing = keys.findIndex((key) => this.#live(key) === null);
    return missing < 0 ? keys.length : missing;
  }

  async get(key: SegmentKey, head: ValueHead, allocate: Allocate): Promise<Memory | null> {
    const entry = this.#live(key);
    if (entry === null) {
      this.#tally.miss();
      return null;
    }
    const payload = entry.value.subarray(HEADER_BYTES);
    const accepted = acceptHeader(entry.value.subarray(0, HEADER_BYTES), key, head);
    const damage = typeof accepted === "string" ? accepted : refusePayload(payload.length, this.#sums.of(payload, 0), accepted);
    if (damage !== null) {
      this.#tally.damaged(head.kind, damage);
      return null;
    }
    this.#touch(key, entry);
    return this.#copyOut(payload, allocate);
  }

  async put(key: SegmentKey, head: ValueHead, payload: Uint8Array): Promise<boolean> {
    const header = encodeHeader(key, head, payload, this.#sums);
    if (HEADER_BYTES + payload.length > this.#options.bytesMax) {
      this.#tally.failed("put", "full", `a value of ${payload.length} bytes, room for ${this.#options.bytesMax}`);
      return false;
    }
    const value = new Uint8Array(HEADER_BYTES + payload.length);
    value.set(header);
    value.set(payload, HEADER_BYTES);
    this.#remove(key);
    this.#touch(key, { value, ttlMs: this.#options.ttlMs[head.kind], expiresMs: 0 });
    this.#bytes += value.length;
    this.#evict();
    this.#tally.stored(head.kind, payload.length);
    return true;
  }

  async claim(key: SegmentKey, owner: string, ttlMs: number): Promise<boolean> {
    const nowMs = this.#options.clock.monotonicMs();
    const held = this.#claims.get(key);
    if (held !== undefined && held.owner !== owner && held.expiresMs > nowMs) return false;
    this.#claims.delete(key);
    this.#claims.set(key, { owner, expiresMs: nowMs + ttlMs });
    for (const [oldest, { expiresMs }] of this.#claims) {
      if (expiresMs > nowMs && this.#claims.size <= CLAIMS_MAX) break;
      this.#claims.delete(oldest);
    }
    return true;
  }

  async unclaim(key: SegmentKey, owner: string): Promise<void> {
    if (this.#claims.get(key)?.owner === owner) this.#claims.delete(key);
  }

  async close(): Promise<void> {
    this.#entries.clear();
    this.#claims.clear();
    this.#bytes = 0;
  }

  stats(): StoreStats {
    return this.#tally.stats();
  }

  /** Header and payload as stored, or null. For tests and the simulator, which damage them. */
  stored(key: SegmentKey): Uint8Array | null {
    return this.#live(key)?.value ?? null;
  }

  /** Forgets one value, as a store may at any time. For tests and the simulator. */
  drop(key: SegmentKey): void {
    this.#remove(key);
  }

  #live(key: SegmentKey): Entry | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    if (entry.expiresMs > this.#options.clock.monotonicMs()) return entry;
    this.#remove(key);
    return null;
  }

  #touch(key: SegmentKey, entry: Entry): void {
    entry.expiresMs = this.#options.clock.monotonicMs() + entry.ttlMs;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  #remove(key: SegmentKey): void {
    this.#bytes -= this.#entries.get(key)?.value.length ?? 0;
    this.#entries.delete(key);
  }

  #evict(): void {
    for (const key of this.#entries.keys()) {
      if (this.#bytes <= this.#options.bytesMax) return;
      this.#remove(key);
    }
  }

  #copyOut(payload: Uint8Array, allocate: Allocate): Memory | null {
    let memory: Memory | null = null;
    try {
      memory = allocate(payload.length);
      memory.bytes.set(payload);
      this.#tally.hit(payload.length);
      return memory;
    } catch (error) {
      memory?.release();
      this.#tally.failed("get", "memory", error);
      return null;
    }
  }
}
