import { expect, test } from "vitest";
import { heapMemory, type Memory } from "../../../../services/shared/runtime/memory.ts";
import type { SegmentKey } from "../../../../services/shared/segments/contract.ts";
import { boundaryPlaces } from "../../../../services/shared/worker/boundary-places.ts";
import { loadLeading } from "../../../../services/shared/worker/load-leading.ts";
import { retryMs, waitingMs } from "../../../../services/shared/worker/settle.ts";
import { Shelf, type Taken } from "../../../../services/shared/worker/shelf.ts";
import { Slots } from "../../../../services/shared/worker/slots.ts";
import { Uploads } from "../../../../services/shared/worker/uploads.ts";

const key = "k" as SegmentKey;
const later = <T>() => {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
};

test("neighbours share one fetch and one memory, which is released when the last puts it back", async () => {
  const shelf = new Shelf();
  let fetches = 0;
  let released = 0;
  const memory: Memory = { ...heapMemory(4), release: () => released++ };
  const fetch = async () => {
    fetches++;
    return memory;
  };
  const [one, two] = await Promise.all([shelf.take(key, fetch), shelf.take(key, fetch)]);
  expect([fetches, one!.memory === two!.memory]).toEqual([1, true]);
  one!.putBack();
  one!.putBack();
  const three = await shelf.take(key, fetch);
  two!.putBack();
  expect([fetches, released, shelf.size]).toEqual([1, 0, 1]);
  three!.putBack();
  expect([released, shelf.size]).toEqual([1, 0]);
});

test("a miss or a failed fetch leaves nothing on the shelf", async () => {
  const shelf = new Shelf();
  expect(await shelf.take(key, async () => null)).toBeNull();
  await expect(shelf.take(key, () => Promise.reject(new Error("no memory")))).rejects.toThrow("no memory");
  expect(shelf.size).toBe(0);
});

test("what is loaded behind a hole is put back, and all of it when a load fails", async () => {
  let held = 0;
  const taken = (): Taken => {
    held++;
    return { memory: heapMemory(1), putBack: () => held-- };
  };
  const loaded = await loadLeading(10, 4, async (index) => (index === 3 ? null : taken()));
  expect([loaded.length, held]).toEqual([3, 3]);
  held = 0;
  const failing = loadLeading(10, 4, async (index) => {
    if (index === 5) throw new Error("no memory");
    return taken();
  });
  await expect(failing).rejects.toThrow("no memory");
  expect(held).toBe(0);
});

test("uploads run side by side up to their bound, and there is room once none stands in line", async () => {
  const uploads = new Uploads(2);
  const gates = Array.from({ length: 3 }, () => later<void>());
  const started: number[] = [];
  for (const [i, { promise }] of gates.entries()) {
    uploads.add(() => {
      started.push(i);
      return promise;
    });
  }
  let hasRoom = false;
  const room = uploads.room().then(() => {
    hasRoom = true;
  });
  await Promise.resolve();
  expect([started, hasRoom]).toEqual([[0, 1], false]);
  gates[1]!.resolve();
  await room;
  expect(started).toEqual([0, 1, 2]);
  for (const { resolve } of gates) resolve();
  await uploads.settled();
});

test("a slot is free when work ends, and nobody waits for one any longer than until the stop", async () => {
  const slots = new Slots(1);
  const stop = new AbortController();
  const work = later<void>();
  slots.occupy(work.promise);
  const free = slots.free(stop.signal);
  work.resolve();
  expect([await free, slots.taken]).toEqual([true, 0]);
  slots.occupy(later<void>().promise);
  const never = slots.free(stop.signal);
  stop.abort();
  expect(await never).toBe(false);
});

test("boundaries are looked for at the end, before ids that ended answers, where the job was handed back, and every so many tokens", () => {
  const ids = new Int32Array(1_000).fill(5);
  for (const at of [310, 400, 555, 700]) ids[at] = 1;
  const places = { low: 300, high: 600, every: 256, endings: [1], left: 517 };
  expect(boundaryPlaces(ids, places)).toEqual([600, 555, 517, 512, 400, 310]);
  expect(boundaryPlaces(ids, { ...places, left: 300 })).toEqual([600, 555, 512, 400, 310]);
  expect(boundaryPlaces(ids, { ...places, low: 600, left: null })).toEqual([]);
});

test("backing off doubles and is bounded", () => {
  expect([1, 2, 3, 50].map(retryMs)).toEqual([250, 500, 1_000, 30_000]);
});

test("a job that waits for another's segments looks again after about a quarter of its wait, however long that is", () => {
  let waited = waitingMs(1);
  for (let looks = 2; looks < 100; looks++) {
    const next = waitingMs(looks);
    expect(next).toBeLessThanOrEqual(Math.min(15_000, 250 + waited / 4));
    waited += next;
  }
  expect(waitingMs(100)).toBe(15_000);
});
