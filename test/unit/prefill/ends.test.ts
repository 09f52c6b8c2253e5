import { afterEach, beforeEach, expect, test } from "vitest";
import type { LogRecord } from "../../../services/shared/bus/events.ts";
import { depth } from "../../support/bus.ts";
import { promptIds } from "../../support/model.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { type TestCluster, testCluster } from "../../support/workers.ts";

let clock: VirtualClock;
let cluster: TestCluster;
beforeEach(() => {
  clock = new VirtualClock();
});
afterEach(() => cluster.close());

const request = { prompt: { ids: promptIds(1_000) }, maxTokens: 2_000, stopIds: [] };
const slow = { engine: { chunkMs: 40, stepMs: 2 } };

const phases: readonly [string, (record: LogRecord) => boolean][] = [
  ["claimed by prefill", ({ event }) => event.type === "claimed"],
  ["in prefill", ({ event }) => event.type === "progress" && event.done >= 200],
  ["handed over", ({ event }) => event.type === "handed_over"],
  ["in decode", ({ tokenCount }) => tokenCount > 30],
];

test.each(phases)("a job cancelled when %s ends as cancelled, and frees everything", async (_, wanted) => {
  cluster = testCluster({ clock });
  const workers = [cluster.start("prefill", slow), cluster.start("decode", slow)];
  const jobId = await cluster.submit(request);
  await cluster.until(jobId, wanted);
  const beforeMs = clock.monotonicMs();
  await cluster.bus.registry.markCancelled(jobId, "the test");
  const records = await cluster.events(jobId);
  expect(records.at(-1)!.event).toEqual({ type: "cancelled", by: "the test" });
  expect(clock.monotonicMs() - beforeMs).toBeLessThanOrEqual(slow.engine.chunkMs);
  await cluster.close();
  expect(workers.map(({ engine }) => engine.held)).toEqual(Array(2).fill({ sequences: 0, memories: 0 }));
  expect(await depth(cluster.bus, "prefill", "m")).toBe(0);
  expect(await depth(cluster.bus, "decode", "m")).toBe(0);
});

test.each([
  ["prefill", 100],
  ["decode", 900],
])("a deadline that passes in %s ends the job as expired", async (phase, ms) => {
  cluster = testCluster({ clock });
  const workers = [cluster.start("prefill", slow), cluster.start("decode", slow)];
  const jobId = await cluster.submit({ ...request, deadlineMs: clock.nowMs() + ms });
  const records = await cluster.events(jobId);
  expect(records.at(-1)).toMatchObject({ phase, event: { type: "expired" } });
  expect(records.at(-1)!.atMs - records[0]!.atMs).toBeLessThanOrEqual(ms + slow.engine.chunkMs);
  await cluster.close();
  expect(workers.map(({ engine }) => engine.held)).toEqual(Array(2).fill({ sequences: 0, memories: 0 }));
});

test("a burst of cancels leaves an idle cluster that works", async () => {
  cluster = testCluster({ clock });
  const workers = [cluster.start("prefill", slow), cluster.start("decode", slow)];
  const jobs = await Promise.all(Array.from({ length: 60 }, (_, i) => cluster.submit({ ...request, prompt: { ids: promptIds(150, i) } })));
  await Promise.all(jobs.map((jobId) => cluster.bus.registry.markCancelled(jobId, "all")));
  const ends = await Promise.all(jobs.map(async (jobId) => (await cluster.answer(jobId)).end.type));
  expect(new Set(ends)).toEqual(new Set(["cancelled"]));
  expect((await cluster.answer(await cluster.submit({ maxTokens: 5 }))).end.type).toBe("finished");
  await cluster.close();
  expect(workers.map(({ engine }) => engine.held)).toEqual(Array(2).fill({ sequences: 0, memories: 0 }));
});
