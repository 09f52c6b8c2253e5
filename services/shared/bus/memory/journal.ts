import type { Clock } from "../../runtime/clock.ts";
import type { Appended, Entry, Journal } from "../journal.ts";

interface JournalBounds {
  readonly bytesMax: number;
  readonly ageMsMax: number;
  /** How long the ids of appends are remembered. */
  readonly dedupeMs: number;
}

/** What an entry costs beside its bytes, about as JetStream counts it. */
const ENTRY_OVERHEAD_BYTES = 100;

/** A journal that lives and dies with the process. */
export class MemoryJournal implements Journal {
  readonly #bounds: JournalBounds;
  readonly #clock: Clock;
  /** In the order of their last entry: the oldest stands in front. */
  readonly #jobs = new Map<string, Entry[]>();
  readonly #ids = new Map<string, Entry>();
  readonly #listeners = new Map<string, Set<(bytes: Uint8Array | null) => void>>();
  #sequence = 0;
  #bytes = 0;

  constructor(bounds: JournalBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  async append(jobId: string, bytes: Uint8Array, after: number, id: string): Promise<Appended> {
    this.#forget();
    const repeated = this.#ids.get(id);
    if (repeated !== undefined) return { kind: "stored", sequence: repeated.sequence };
    const entries = this.#jobs.get(jobId) ?? [];
    if ((entries.at(-1)?.sequence ?? 0) !== after) return { kind: "refused" };
    if (this.#bytes + sizeOf(bytes) > this.#bounds.bytesMax) return { kind: "full" };
    const entry = { sequence: ++this.#sequence, storedMs: this.#clock.nowMs(), id, bytes };
    entries.push(entry);
    this.#jobs.delete(jobId);
    this.#jobs.set(jobId, entries);
    this.#ids.set(id, entry);
    this.#bytes += sizeOf(bytes);
    return { kind: "stored", sequence: entry.sequence };
  }

  async first(jobId: string): Promise<Entry | null> {
    this.#forget();
    return this.#jobs.get(jobId)?.[0] ?? null;
  }

  async *lasts(): AsyncGenerator<Entry & { readonly jobId: string }> {
    this.#forget();
    for (const [jobId, entries] of [...this.#jobs]) yield { jobId, ...entries.at(-1)! };
  }

  async last(jobId: string): Promise<Entry | null> {
    this.#forget();
    return this.#jobs.get(jobId)?.at(-1) ?? null;
  }

  glance(jobId: string): Promise<Entry | null> {
    return this.last(jobId);
  }

  async page(jobId: string, after: number, max: number): Promise<readonly Entry[]> {
    const entries = this.#jobs.get(jobId) ?? [];
    const start = after === 0 ? 0 : firstBehind(entries, after);
    return entries.slice(start, start + max);
  }

  async purge(jobId: string): Promise<void> {
    for (const { bytes } of this.#jobs.get(jobId) ?? []) this.#bytes -= sizeOf(bytes);
    this.#jobs.delete(jobId);
  }

  async nowMs(): Promise<number> {
    return this.#clock.nowMs();
  }

  async fill(): Promise<number> {
    this.#forget();
    return this.#bytes / this.#bounds.bytesMax;
  }

  announce(jobId: string, bytes: Uint8Array): void {
    for (const callback of this.#listeners.get(jobId) ?? []) callback(bytes);
  }

  listen(jobId: string, callback: (bytes: Uint8Array | null) => void): () => void {
    const callbacks = this.#listeners.get(jobId) ?? new Set();
    this.#listeners.set(jobId, callbacks.add(callback));
    return () => {
      callbacks.delete(callback);
      if (callbacks.size === 0 && this.#listeners.get(jobId) === callbacks) this.#listeners.delete(jobId);
    };
  }

  /**
   * Drops what is too old: jobs whose last event is, and ids. Both maps are in order of time: only their heads are
   * looked at.
   */
  #forget(): void {
    const nowMs = this.#clock.nowMs();
    for (const [jobId, entries] of this.#jobs) {
      if (nowMs - (entries.at(-1)?.storedMs ?? 0) < this.#bounds.ageMsMax) break;
      void this.purge(jobId);
    }
    for (const [id, { storedMs }] of this.#ids) {
      if (nowMs - storedMs < this.#bounds.dedupeMs) break;
      this.#ids.delete(id);
    }
  }
}

const sizeOf = (bytes: Uint8Array): number => bytes.length + ENTRY_OVERHEAD_BYTES;

/** Index of the first entry with a sequence above `after`; entries are in order. */
function firstBehind(entries: readonly Entry[], after: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle]!.sequence <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}
