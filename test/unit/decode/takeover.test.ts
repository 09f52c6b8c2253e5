import { afterEach, beforeEach, expect, test } from "vitest";
import type { LogRecord } from "../../../services/shared/bus/events.ts";
import type { Engine } from "../../../services/shared/engine/engine.ts";
import { alone } from "../../support/alone.ts";
import { erasableStore } from "../../support/forgetful-store.ts";
import { promptIds, SEGMENT } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { memoryStore, requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let clock: VirtualClock;
let cluster: TestCluster;
beforeEach(() => {
  clock = new VirtualClock();
});
afterEach(() => cluster.close());

const request = { prompt: { ids: promptIds(1_000) }, maxTokens: 250, stopIds: [] };
const slow = { engine: { chunkMs: 60, stepMs: 3 } };
const expected = await alone(requestOf(request));

const halfPrefilled = ({ event }: LogRecord) => event.type === "progress" && event.done >= 300;
const halfAnswered = ({ tokenCount }: LogRecord) => tokenCount >= 120;
const progress = (records: readonly LogRecord[], epoch: number) =>
  records.flatMap((record) => (record.epoch === epoch && record.event.type === "progress" ? [record.event.done] : []));
const types = (records: readonly LogRecord[]) => [...new Set(records.map(({ event }) => event.type))];

test.each([
  ["prefill", halfPrefilled],
  ["decode", halfAnswered],
] as const)("a %s worker killed in the middle: another goes on, and the answer is the same", async (role, half) => {
  cluster = testCluster({ clock });
  const victim = cluster.start(role, slow);
  cluster.start(role === "prefill" ? "decode" : "prefill", slow);
  const jobId = await cluster.submit(request);
  await cluster.until(jobId, half);
  victim.life.kill();
  const other = cluster.start(role, slow);
  const records = await cluster.events(jobId);
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
  expect(new Set(records.map(({ epoch }) => epoch)).size).toBeGreaterThan(3);
  if (role === "prefill") {
    const [first] = progress(records, 2); // within the chunk it began with: what it says is not logged at every layer
    expect([first! >= 256, first! <= progress(records, 1).at(-1)! + SEGMENT]).toEqual([true, true]);
  }
  await other.drain();
  expect(other.engine.held).toEqual({ sequences: 0, memories: 0 });
});

test.each([
  ["prefill", halfPrefilled],
  ["decode", halfAnswered],
] as const)("a %s worker that froze and wakes after it was overtaken changes nothing", async (role, half) => {
  cluster = testCluster({ clock });
  const zombie = cluster.start(role, slow);
  cluster.start(role === "prefill" ? "decode" : "prefill", slow);
  const jobId = await cluster.submit(request);
  const { epoch } = await cluster.until(jobId, half);
  zombie.life.freeze();
  cluster.start(role, slow);
  await cluster.until(jobId, (record) => record.epoch > epoch && record.event.type !== "claimed");
  zombie.life.thaw();
  const records = await cluster.events(jobId);
  const late = records.findLastIndex((record) => record.epoch === epoch);
  expect(records.findIndex((record) => record.epoch > epoch)).toBeGreaterThan(late);
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
  await zombie.drain();
  expect(zombie.engine.held).toEqual({ sequences: 0, memories: 0 });
  expect(await cluster.bus.log.read(jobId)).toEqual(records);
});

test.each([
  ["prefill", halfPrefilled],
  ["decode", halfAnswered],
] as const)("a drained %s worker hands its jobs back within a chunk, and no attempt is counted", async (role, half) => {
  cluster = testCluster({ clock });
  const leaving = cluster.start(role, slow);
  cluster.start(role === "prefill" ? "decode" : "prefill", slow);
  const jobId = await cluster.submit(request);
  await cluster.until(jobId, half);
  const beforeMs = clock.monotonicMs();
  await leaving.drain();
  expect(clock.monotonicMs() - beforeMs).toBeLessThanOrEqual(slow.engine.chunkMs);
  expect(leaving.engine.held).toEqual({ sequences: 0, memories: 0 });
  expect((await cluster.bus.log.last(jobId))?.event).toMatchObject({ type: "released", excused: true });
  cluster.start(role, slow);
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
  const records = await cluster.events(jobId);
  if (role === "prefill") expect(progress(records, 2)[0]).toBe(progress(records, 1).at(-1)); // nothing is computed twice
});

test("a decode worker told to stop writes down all it has drawn, though it waited for more", async () => {
  let steps = 0;
  const counted = (engine: Engine) => overriding(engine, { step: (batch) => engine.step(batch).finally(() => steps++) });
  cluster = testCluster({ clock });
  cluster.start("prefill");
  const leaving = cluster.start("decode", { ...slow, engineOf: counted, settings: { flushTokens: 32, flushMs: 60_000 } });
  const jobId = await cluster.submit({ ...request, maxTokens: 2_000 });
  await cluster.when(() => steps > 40);
  await leaving.drain();
  expect(await cluster.bus.log.last(jobId)).toMatchObject({ event: { type: "released" }, tokenCount: 1 + steps });
});

test("segments gone between prefill and decode send the job back, and no token is drawn twice", async () => {
  const { store, erase } = erasableStore();
  cluster = testCluster({ clock, store });
  cluster.start("prefill");
  const jobId = await cluster.submit(request);
  await cluster.until(jobId, ({ event }) => event.type === "handed_over");
  erase();
  cluster.start("decode");
  const records = await cluster.events(jobId);
  expect(types(records)).toContain("sent_back");
  expect(records.filter(({ event }) => event.type === "handed_over")).toHaveLength(2);
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
});

test("segments gone in the middle of the answer: prefill recomputes prompt and answer, decode goes on after it", async () => {
  const { store, erase } = erasableStore();
  cluster = testCluster({ clock, store });
  cluster.start("prefill");
  const victim = cluster.start("decode", slow);
  const jobId = await cluster.submit(request);
  await cluster.until(jobId, halfAnswered);
  victim.life.kill();
  erase();
  cluster.start("decode");
  const records = await cluster.events(jobId);
  const handOvers = records.flatMap(({ event }) => (event.type === "handed_over" ? [event] : []));
  expect(handOvers.map(({ token }) => token)).toEqual([expected.ids[0], expected.ids[0]]);
  expect(handOvers[1]!.boundary).toBeGreaterThanOrEqual(1_000 + 119);
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
});

test("segments gone again after some more of the answer: prefill recomputes them again", async () => {
  const { store, erase } = erasableStore();
  cluster = testCluster({ clock, store });
  const prefill = cluster.start("prefill");
  const jobId = await cluster.submit(request);
  for (const tokens of [60, 120, 180]) {
    const victim = cluster.start("decode", slow);
    await cluster.until(jobId, ({ tokenCount }) => tokenCount >= tokens);
    victim.life.kill();
    erase();
  }
  cluster.start("decode");
  const records = await cluster.events(jobId);
  expect(records.filter(({ event }) => event.type === "sent_back")).toHaveLength(3);
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
  const figures = await prefill.metrics.text();
  expect(figures).toContain('longshore_worker_jobs_total{phase="prefill",end="handed_over"} 4');
  expect(figures).toContain('longshore_worker_first_token_seconds_count{lane="interactive"} 1');
  const waitedSeconds = (records.find(({ event }) => event.type === "handed_over")!.atMs - records[0]!.atMs) / 1_000;
  expect(figures).toContain(`longshore_worker_first_token_seconds_sum{lane="interactive"} ${waitedSeconds}`);
});

test("with a store that keeps nothing at all the answer still comes: decode computes what was lost twice", async () => {
  cluster = testCluster({ clock, store: overriding(memoryStore(clock), { put: async () => false }) });
  cluster.start("prefill");
  cluster.start("decode");
  const jobId = await cluster.submit(request);
  const records = await cluster.events(jobId);
  expect(records.filter(({ event }) => event.type === "sent_back")).toHaveLength(1);
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
});

test("a worker that died between its last event and the next message: the old message brings the job on", async () => {
  cluster = testCluster({ clock });
  const victim = cluster.start("prefill");
  const queue = cluster.bus.queue;
  const publish = queue.publish.bind(queue);
  queue.publish = (phase, ...rest) => {
    if (phase === "prefill") return publish(phase, ...rest);
    victim.life.kill();
    return new Promise(() => {});
  };
  const jobId = await cluster.submit(request);
  await cluster.when(() => victim.life.dead);
  queue.publish = publish;
  expect((await cluster.bus.log.last(jobId))?.event.type).toBe("handed_over");
  cluster.start("prefill");
  cluster.start("decode");
  expect((await cluster.answer(jobId)).ids).toEqual(expected.ids);
});

test("work that kills every worker fails after the attempts that are allowed, and says so", async () => {
  cluster = testCluster({ clock, attemptsMax: 2 });
  const prefill = cluster.start("prefill");
  prefill.engine.prefill = async () => {
    throw new Error("the kernels are on fire");
  };
  const records = await cluster.events(await cluster.submit({ prompt: { ids: promptIds(20) } }));
  expect(records.filter(({ event }) => event.type === "released")).toHaveLength(2);
  expect(records.at(-1)!.event).toMatchObject({ type: "failed", message: expect.stringContaining("the kernels are on fire") });
  await cluster.close();
  expect(prefill.engine.held).toEqual({ sequences: 0, memories: 0 });
});
