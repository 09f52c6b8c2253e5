import { expect, test } from "vitest";
import type { Clock } from "../../../../services/shared/runtime/clock.ts";
import { silentLog } from "../../../../services/shared/runtime/log.ts";
import { heapMemory } from "../../../../services/shared/runtime/memory.ts";
import type { SegmentKey } from "../../../../services/shared/segments/contract.ts";
import { HEADER_BYTES } from "../../../../services/shared/segments/format.ts";
import { MemoryStore } from "../../../../services/shared/segments/memory-store.ts";
import { type Sample, sample } from "../../../support/segments.ts";

const clock: Clock = {
  nowMs: () => 0,
  monotonicMs: () => 0,
  sleep: () => Promise.reject(new Error("stores do not sleep")),
  after: () => () => {},
};
const openStore = (values: number) =>
  new MemoryStore({ bytesMax: values * (HEADER_BYTES + 100), ttlMs: { segment: 1_000, boundary: 1_000 }, clock, log: silentLog });
const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => sample(name, 100)) as [Sample, Sample, Sample, Sample];

test("the least recently used values go first, and never more than needed", async () => {
  const store = openStore(3);
  for (const { key, head, payload } of [a, b, c]) await store.put(key, head, payload);
  await store.get(a.key, a.head, heapMemory);
  await store.countPrefix([b.key]); // a question, not a use
  await store.put(d.key, d.head, d.payload);
  expect([a, b, c, d].map(({ key }) => store.stored(key) !== null)).toEqual([true, false, true, true]);
});

test("storing a value again takes no more room", async () => {
  const store = openStore(3);
  for (const { key, head, payload } of [a, b, c, a, a, a]) await store.put(key, head, payload);
  expect([a, b, c].every(({ key }) => store.stored(key) !== null)).toBe(true);
});

test("a value larger than the store is refused and displaces nothing", async () => {
  const store = openStore(3);
  await store.put(a.key, a.head, a.payload);
  const large = sample("large", 1_000);
  expect(await store.put(large.key, large.head, large.payload)).toBe(false);
  expect(store.stored(a.key)).not.toBeNull();
  expect(store.stats()).toMatchObject({ failures: 1, failuresBy: { full: 1 } });
});

test("a claim is kept while there are no more than 65,536 younger ones", async () => {
  const store = openStore(1);
  const claim = (i: number, owner: string) => store.claim(`${i}` as SegmentKey, owner, 1_000);
  for (let i = 0; i <= 65_536; i++) await claim(i, "one");
  expect([await claim(1, "other"), await claim(0, "other")]).toEqual([false, true]);
});
