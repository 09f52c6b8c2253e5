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

  /** Keeps a value that is here, or on its way, until the returned function is called, which is idempotent; null if it is neither. */
  keep(key: SegmentKey): (() => void) | null {
    const entry = this.#entries.get(key);
    return entry === undefined ? null : this.#join(key, entry);
  }

  #add(key: SegmentKey, memory: Promise<Memory | null>): Entry {
    const entry: Entry = { users: 0, memory, found: null };
    this.#entries.set(key, entry);
    const missing = () => this.#forget(key, entry); // whoever keeps it keeps nobody from asking again
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
  /** What came of it. */
  found: Memory | null;
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}
