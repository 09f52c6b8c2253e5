import { expect, test } from "vitest";
import type { LogRecord } from "../../../../services/shared/bus/events.ts";
import { heapMemory, type Memory } from "../../../../services/shared/runtime/memory.ts";
import type { SegmentKey } from "../../../../services/shared/segments/contract.ts";
import { boundaryPlaces } from "../../../../services/shared/worker/boundary-places.ts";
import { loadLeading } from "../../../../services/shared/worker/load-leading.ts";
import { retryMs, waitingMs } from "../../../../services/shared/worker/settle.ts";
import { Shelf, type Taken } from "../../../../services/shared/worker/shelf.ts";
import { Slots } from "../../../../services/shared/worker/slots.ts";
import { Turn } from "../../../../services/shared/worker/turn.ts";
import { Uploads } from "../../../../services/shared/worker/uploads.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

const key = "k" as SegmentKey;
const progressAt = (done: number) => ({ event: { type: "progress", done, total: 1_000, stored: 1 } }) as LogRecord;
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
  const room = uploads.caughtUp().then(() => {
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

test("whoever waits for the end of work waits until there is one, for his time, or until the stop", async () => {
  const slots = new Slots(1);
  const clock = new VirtualClock();
  const stop = new AbortController();
  const work = later<void>();
  slots.occupy(work.promise);
  await clock.run(slots.ended(clock, 250, stop.signal));
  expect([clock.monotonicMs(), slots.room]).toEqual([250, 0]);
  const ended = slots.ended(clock, 250, stop.signal);
  work.resolve();
  await ended;
  expect([clock.monotonicMs(), slots.room]).toEqual([250, 1]);
  slots.occupy(later<void>().promise);
  const never = slots.ended(clock, 250, stop.signal);
  stop.abort();
  await never;
  expect([clock.monotonicMs(), slots.room]).toEqual([250, 0]);
});

test("a turn is over after its time, and four times what it took to load, and to come to where the job stood", async () => {
  const clock = new VirtualClock();
  const turn = (turnMs: number, ...history: LogRecord[]) => new Turn(clock, turnMs, history);
  const overAfter = async (turn: Turn) => {
    const startMs = clock.monotonicMs();
    while (!turn.over) await clock.run(clock.sleep(1));
    return clock.monotonicMs() - startMs;
  };
  const first = turn(100);
  expect([first.stoodAt, first.over]).toEqual([0, false]);
  first.reached(0);
  first.reached(50); // it began before
  expect(await overAfter(first)).toBe(100);
  const next = turn(100, ...[200, 900, 0].map(progressAt)); // one that came after it was still loading when it died
  await clock.run(clock.sleep(500)); // for a place
  next.begin();
  await clock.run(clock.sleep(10));
  next.loaded();
  await clock.run(clock.sleep(1_000)); // for neighbours
  next.reached(600);
  await clock.run(clock.sleep(20));
  next.reached(900);
  expect([next.stoodAt, await overAfter(next)]).toEqual([900, 120]);
  const sentBack = { event: { type: "sent_back", reason: "segments are gone" } } as LogRecord;
  expect(turn(100, progressAt(900), sentBack, progressAt(20)).stoodAt).toBe(20);
  const endless = turn(Number.POSITIVE_INFINITY);
  endless.reached(1);
  await clock.run(clock.sleep(1e9));
  expect(endless.over).toBe(false);
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
