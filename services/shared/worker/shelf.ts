import type { Memory } from "../runtime/memory.ts";
import type { SegmentKey } from "../segments/contract.ts";

/** A value taken from the shelf; it lives at least until it is put back. */
export interface Taken {
  readonly memory: Memory;
  /** Idempotent. */
  putBack(): void;
}

/**
 * Values that jobs of this worker hold now. Jobs with the same prefix share the bytes instead of fetching them again.
 */
export class Shelf {
  readonly #entries = new Map<SegmentKey, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  /** The value, fetched for the first caller; null if `fetch` found none. */
  async take(key: SegmentKey, fetch: () => Promise<Memory | null>): Promise<Taken | null> {
    const entry = this.#entries.get(key) ?? this.#add(key, fetch());
    const putBack = this.#join(key, entry);
    try {
      const memory = await entry.memory;
      if (memory !== null) return { memory, putBack };
    } catch (error) {
      putBack();
      throw error;
    }
    putBack();
    return null;
  }

  /**
   * Keeps a value that is here, or being fetched, until the returned function is called; null if it is neither. Calling
   * it again does nothing.
   */
  keep(key: SegmentKey): (() => void) | null {
    const entry = this.#entries.get(key);
    return entry === undefined ? null : this.#join(key, entry);
  }

  #add(key: SegmentKey, memory: Promise<Memory | null>): Entry {
    const entry: Entry = { users: 0, memory, found: null };
    this.#entries.set(key, entry);
    const missing = () => this.#forget(key, entry); // a job that keeps a miss keeps no other from fetching again
    memory.then((found) => {
      entry.found = found;
      if (found === null) missing();
      else if (entry.users === 0) found.release();
    }, missing);
    return entry;
  }

  #join(key: SegmentKey, entry: Entry): () => void {
    entry.users++;
    return once(() => {
      if (--entry.users > 0) return;
      this.#forget(key, entry);
      entry.found?.release();
    });
  }

  #forget(key: SegmentKey, entry: Entry): void {
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
  }
}

interface Entry {
  users: number;
  readonly memory: Promise<Memory | null>;
  /** What was fetched; null before, and for a miss. */
  found: Memory | null;
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}
