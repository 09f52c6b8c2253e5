import { afterEach, beforeEach, expect, test } from "vitest";
import { alone } from "../../support/alone.ts";
import { promptIds } from "../../support/model.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let clock: VirtualClock;
let cluster: TestCluster;
beforeEach(() => {
  clock = new VirtualClock();
});
afterEach(() => cluster.close());

const batch = (salt: number) => ({ prompt: { ids: promptIds(900, salt) }, maxTokens: 400, stopIds: [], lane: "batch" as const });
const interactive = { prompt: { ids: promptIds(200, 9) } };
const slow = { engine: { chunkMs: 100, stepMs: 5, batchMax: 2 }, settings: { prefillSlots: 2, claimMs: 5_000 } };

test.each([
  ["prefill", "progress"],
  ["decode", "tokens"],
] as const)("a %s worker full of batch jobs makes way for interactive work, and the job it gave back loses nothing", async (role, busy) => {
  cluster = testCluster({ clock });
  cluster.start("prefill", role === "prefill" ? slow : {});
  cluster.start("decode", role === "decode" ? slow : {});
  const jobs = await Promise.all([1, 2].map((salt) => cluster.submit(batch(salt))));
  for (const jobId of jobs) await cluster.until(jobId, ({ event }) => event.type === busy);
  const urgent = await cluster.submit(interactive);
  const { ids } = await cluster.answer(urgent);
  const others = await Promise.all(jobs.map((jobId) => cluster.bus.log.last(jobId)));
  expect(others.every((last) => last?.event.type !== "finished")).toBe(true);
  expect(ids).toEqual((await alone(requestOf(interactive))).ids);
  const reasons = [];
  for (const [i, jobId] of jobs.entries()) {
    expect((await cluster.answer(jobId)).ids).toEqual((await alone(requestOf(batch(i + 1)))).ids);
    for (const { event, attempt } of await cluster.events(jobId)) {
      expect(attempt).toBeLessThanOrEqual(1);
      if (event.type === "released") reasons.push(event);
    }
  }
  expect(reasons).toEqual([{ type: "released", reason: "interactive work goes first", excused: true }]);
});

test("a worker with a free slot, or full of interactive jobs, gives nothing back", async () => {
  cluster = testCluster({ clock });
  cluster.start("prefill", { ...slow, settings: { ...slow.settings, prefillSlots: 1 } });
  cluster.start("decode");
  const jobs = await Promise.all([1, 2, 3].map((salt) => cluster.submit({ prompt: { ids: promptIds(400, salt) } })));
  for (const jobId of jobs) {
    const events = await cluster.events(jobId);
    expect(events.some(({ event }) => event.type === "released")).toBe(false);
  }
});
