import type { Memory } from "../runtime/memory.ts";
import type { SegmentKey } from "../segments/contract.ts";

/** What a job has taken from the shelf; it lives at least until it is put back. */
export interface Taken {
  readonly memory: Memory;
  /** Idempotent. */
  putBack(): void;
}

/** Values that jobs of this worker hold now: a neighbour with the same prefix shares the bytes instead of fetching them again. */
export class Shelf {
  readonly #entries = new Map<SegmentKey, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  /** The value, fetched by whoever asks first; null if `fetch` found none. */
  async take(key: SegmentKey, fetch: () => Promise<Memory | null>): Promise<Taken | null> {
    const entry = this.#entries.get(key) ?? this.#add(key, fetch());
    entry.users++;
    try {
      const memory = await entry.memory;
      if (memory !== null) return { memory, putBack: once(() => this.#leave(key, entry) && memory.release()) };
    } catch (error) {
      this.#leave(key, entry);
      throw error;
    }
    this.#leave(key, entry);
    return null;
  }

  #add(key: SegmentKey, memory: Promise<Memory | null>): Entry {
    const entry = { users: 0, memory };
    this.#entries.set(key, entry);
    return entry;
  }

  /** True for the last user. */
  #leave(key: SegmentKey, entry: Entry): boolean {
    entry.users--;
    if (entry.users > 0) return false;
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
    return true;
  }
}

interface Entry {
  users: number;
  readonly memory: Promise<Memory | null>;
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}
