import type { Random } from "../../services/shared/runtime/random.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import type { MemoryStore } from "../../services/shared/segments/memory-store.ts";
import { memoryStore } from "./workers.ts";

/**
 * A store that now and then has forgotten a value, does not take one, or counts wrong: `badness()` of 100 calls fail.
 */
export function forgetfulStore(store: MemoryStore, random: Random, badness: () => number): SegmentStore {
  const bad = () => random.u32() % 100 < badness();
  return {
    countPrefix: async (keys) => (bad() ? random.u32() % (keys.length + 1) : await store.countPrefix(keys)),
    get: async (key, head, allocate) => {
      if (bad()) store.drop(key);
      return await store.get(key, head, allocate);
    },
    put: async (key, head, payload) => !bad() && (await store.put(key, head, payload)),
    claim: async (key, owner, ttlMs) => bad() || (await store.claim(key, owner, ttlMs)),
    unclaim: (key, owner) => store.unclaim(key, owner),
    close: () => store.close(),
  };
}

/** A store that can be emptied at once, as when Redis was replaced by an empty one. */
export function erasableStore(): { store: SegmentStore; erase: () => void } {
  let current: MemoryStore = memoryStore();
  const store = new Proxy(current, {
    get: (_, name) => {
      const value: unknown = Reflect.get(current, name, current);
      return typeof value === "function" ? value.bind(current) : value;
    },
  });
  const erase = () => {
    current = memoryStore();
  };
  return { store, erase };
}
