import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Claim, Message } from "../../../../services/shared/bus/contract.ts";
import type { LogRecord } from "../../../../services/shared/bus/events.ts";
import type { Sealed } from "../../../../services/shared/engine/engine.ts";
import { openWeightlessEngine } from "../../../../services/shared/engine/weightless/weightless.ts";
import { silentLog } from "../../../../services/shared/runtime/log.ts";
import { heapMemory, type Memory } from "../../../../services/shared/runtime/memory.ts";
import type { SegmentStore, ValueHead } from "../../../../services/shared/segments/contract.ts";
import { contextFactory } from "../../../../services/shared/worker/context.ts";
import { HeldJob } from "../../../../services/shared/worker/held-job.ts";
import { Interrupted } from "../../../../services/shared/worker/interrupted.ts";
import { KvRoom } from "../../../../services/shared/worker/kv-room.ts";
import { Pulse } from "../../../../services/shared/worker/pulse.ts";
import { engineOptions, promptIds, SEGMENT } from "../../../support/model.ts";
import { overriding } from "../../../support/overriding.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";
import { memoryStore, requestOf, settings } from "../../../support/workers.ts";

const SEGMENTS = 3;
const ids = promptIds(SEGMENTS * SEGMENT + 20);

/** The context of a job held for decode, in front of such a store. */
function contextOf(store: Partial<SegmentStore>) {
  const clock = new VirtualClock();
  const request = requestOf({ prompt: { ids }, promptTokens: ids.length });
  const submitted: LogRecord = {
    jobId: "j",
    phase: "prefill",
    epoch: 0,
    attempt: 0,
    sequence: 1,
    previous: 0,
    tokenCount: 0,
    atMs: 0,
    event: { type: "submitted", request },
  };
  const job = new HeldJob({ jobId: "j", phase: "decode", tokenCount: 0 } as Claim, {} as Message, [submitted], {
    clock,
    claimMs: 700,
    turnMs: Number.POSITIVE_INFINITY,
    recordAheadMs: clock.nowMs(),
  });
  const deps = {
    engine: openWeightlessEngine({ ...engineOptions, clock }),
    store: overriding(memoryStore(), store),
    log: silentLog,
    pulse: new Pulse(),
  };
  const room = new KvRoom(deps.engine.info, settings.kvBytes, clock);
  return { job, context: contextFactory(deps, { ...settings, worker: "w" }, room)(job, ids) };
}

/** A job that looks for all of its prompt in a store whose last segment arrives when told; `asked` for it calls `onLast`. */
function looking(onLast: (job: HeldJob) => void) {
  const asked: string[] = [];
  let arrive: (memory: Memory | null) => void = () => {};
  const last = new Promise<Memory | null>((resolve) => {
    arrive = resolve;
  });
  const get = async (_: unknown, { kind, firstToken }: ValueHead): Promise<Memory | null> => {
    asked.push(`${kind} ${firstToken}`);
    if (kind === "boundary") return heapMemory(4);
    if (firstToken < (SEGMENTS - 1) * SEGMENT) return heapMemory(8);
    onLast(job);
    return last;
  };
  const { job, context } = contextOf({ get });
  return { found: context.find(ids.length, SEGMENTS, []), asked, arrive };
}

test("the boundary is asked for while the last segment is on its way", async () => {
  const { found, asked, arrive } = looking(() => {});
  while (!asked.includes(`boundary ${ids.length}`)) await turn();
  arrive(heapMemory(8));
  const { segments, boundary, storedTokens } = await found;
  expect([segments.length, boundary?.position, storedTokens]).toEqual([SEGMENTS, ids.length, ids.length]);
});

test("where the last segment is gone, the boundary behind it is not used", async () => {
  const { found, arrive } = looking(() => {});
  arrive(null);
  const { segments, storedTokens } = await found;
  expect([segments.length, storedTokens]).toEqual([SEGMENTS - 1, SEGMENTS * SEGMENT - 1]);
});

test("whoever is interrupted while the last segment is on its way hears it when that has arrived, once", async () => {
  const cancelled = new Interrupted("cancelled", "the test");
  const { found, asked, arrive } = looking((job) => job.interrupt(cancelled));
  while (!asked.includes(`segment ${(SEGMENTS - 1) * SEGMENT}`)) await turn();
  await turn(); // a rejection nobody has heard of yet would end the process by now
  arrive(heapMemory(8));
  await expect(found).rejects.toBe(cancelled);
});

/** Segments of the job, and how often the memory of each was given back. */
function sealed() {
  const released = Array.from({ length: SEGMENTS }, () => 0);
  const of = (index: number): Sealed => ({ index, payload: { bytes: Uint8Array.of(index), release: () => void released[index]!++ } });
  return { of, released };
}

test("what the store refused is offered again once it took something else, the first of it first", async () => {
  const offered: string[] = [];
  let refuses = 3;
  const put: SegmentStore["put"] = async (_, { kind }, bytes) => {
    offered.push(kind === "boundary" ? kind : `${bytes[0]}`);
    return refuses-- <= 0;
  };
  const { job, context } = contextOf({ put });
  const { of, released } = sealed();
  for (const index of [2, 0, 1]) {
    context.keep(of(index));
    await context.settled();
  }
  expect([[...job.unstored], job.stored, released]).toEqual([[2, 0, 1], 0, [0, 0, 0]]);
  context.keepBoundary(ids.length, Uint8Array.of(9));
  await context.settled();
  expect(offered).toEqual(["2", "0", "1", "boundary", "0", "1", "2"]);
  expect([[...job.unstored], job.stored, released]).toEqual([[], 3, [1, 1, 1]]);
  context.release();
  expect(released).toEqual([1, 1, 1]);
});

test("what the store never takes, and what failed by our own mistake, is given up with the context", async () => {
  const put: SegmentStore["put"] = async (_, { firstToken }) => {
    if (firstToken === SEGMENT) throw new Error("our own mistake");
    return firstToken !== 0;
  };
  const { job, context } = contextOf({ put });
  const { of, released } = sealed();
  for (const index of [0, 1, 2]) context.keep(of(index));
  await context.settled();
  expect([[...job.unstored].sort(), job.stored, released]).toEqual([[0, 1], 1, [0, 1, 1]]);
  context.release();
  expect(released).toEqual([1, 1, 1]);
});

test.each(["cancelled", "told to leave"])("who is %s does not wait for what was refused before", async (how) => {
  const offered: number[] = [];
  const { job, context } = contextOf({ put: async (_, { firstToken }) => offered.push(firstToken / SEGMENT) > 1 });
  const { of, released } = sealed();
  context.keep(of(0));
  await context.settled();
  if (how === "cancelled") job.interrupt(new Interrupted("cancelled", "the test"));
  else job.handBack(new Interrupted("drained", "the test"));
  context.keep(of(1));
  await context.settled();
  expect(offered).toEqual([0, 1]);
  context.release();
  expect(released).toEqual([1, 1, 0]);
});
