import { afterEach, beforeEach, expect, test } from "vitest";
import type { JobEvent, LogRecord } from "../../../services/shared/bus/events.ts";
import { alone } from "../../support/alone.ts";
import { EOS, promptIds, SEGMENT } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { memoryStore, requestOf, type TestCluster, testCluster, type Worker } from "../../support/workers.ts";

let clock: VirtualClock;
let cluster: TestCluster;
beforeEach(() => {
  clock = new VirtualClock();
});
afterEach(() => cluster.close());

const handOver = (records: readonly LogRecord[]) =>
  records.map(({ event }) => event).find((event): event is Extract<JobEvent, { type: "handed_over" }> => event.type === "handed_over")!;

const document = promptIds(6 * SEGMENT + 20);
const question = (n: number) => Int32Array.from([...document, 100 + n, 200 + n, 300 + n]);

test("five questions about one document, asked at once of two workers: the document is computed once", async () => {
  cluster = testCluster({ clock });
  for (const role of ["prefill", "prefill", "decode"] as const) cluster.start(role, { engine: { chunkMs: 4 } });
  const prompts = [0, 1, 2, 3, 4].map((n) => question(n));
  const jobs = await Promise.all(prompts.map((ids) => cluster.submit({ prompt: { ids } })));
  const logs = await Promise.all(jobs.map((jobId) => cluster.events(jobId)));
  const cached = logs.map((records) => handOver(records).cached).sort((a, b) => a - b);
  expect(cached).toEqual([0, 1, 1, 1, 1].map((shared) => shared * 6 * SEGMENT));
  const reasons = new Set(logs.flatMap((records) => records.flatMap(({ event }) => (event.type === "released" ? [event.reason] : []))));
  expect([...reasons]).toEqual(["another job computes the same prefix"]);
  expect(logs.every((records) => records.every(({ attempt }) => attempt <= 1))).toBe(true);
  for (const [i, jobId] of jobs.entries()) {
    expect((await cluster.answer(jobId)).ids).toEqual((await alone(requestOf({ prompt: { ids: prompts[i]! } }))).ids);
  }
});

test("when the job that computes a prefix is cancelled, the one that waits for it goes on at once", async () => {
  cluster = testCluster({ clock });
  const patient = { engine: { chunkMs: 100 }, settings: { claimMs: 60_000 } };
  cluster.start("prefill", patient);
  cluster.start("decode", patient);
  const first = await cluster.submit({ prompt: { ids: question(1) } });
  await cluster.until(first, ({ event }) => event.type === "progress");
  const second = await cluster.submit({ prompt: { ids: question(2) } });
  await cluster.until(second, ({ event }) => event.type === "released");
  await cluster.bus.registry.markCancelled(first, "the test");
  expect((await cluster.answer(first)).end.type).toBe("cancelled");
  expect((await cluster.answer(second)).ids).toEqual((await alone(requestOf({ prompt: { ids: question(2) } }))).ids);
});

test("a job that waits its turn in a busy engine keeps its claim", async () => {
  cluster = testCluster({ clock });
  const busy = { engine: { chunkMs: 1_500, layers: 15 } }; // a chunk takes longer than a claim lives
  cluster.start("prefill", busy);
  const jobs = await Promise.all([1, 2].map((salt) => cluster.submit({ prompt: { ids: promptIds(90, salt) } })));
  await Promise.all(jobs.map((jobId) => cluster.until(jobId, ({ event }) => event.type === "progress")));
  cluster.start("prefill", busy);
  for (const jobId of jobs) {
    const { epoch } = await cluster.until(jobId, ({ event }) => event.type === "handed_over");
    expect(epoch).toBe(1);
  }
});

test("what a job stored before its worker died is not cached for it", async () => {
  const store = memoryStore(clock);
  let victim: Worker | null = null;
  const deadly = async (...args: Parameters<typeof store.put>) => {
    const stored = await store.put(...args);
    victim?.life.kill();
    return stored;
  };
  cluster = testCluster({ clock, store: overriding(store, { put: deadly }) });
  victim = cluster.start("prefill");
  const jobId = await cluster.submit({ prompt: { ids: question(1) } });
  await cluster.until(jobId, ({ event }) => event.type === "progress");
  await cluster.when(() => victim?.life.dead === true);
  victim = null;
  cluster.start("prefill");
  await cluster.until(jobId, ({ event }) => event.type === "handed_over");
  expect(handOver(await cluster.bus.log.read(jobId)).cached).toBe(0);
});

test("another tenant finds nothing", async () => {
  cluster = testCluster({ clock });
  cluster.start("prefill");
  cluster.start("decode");
  await cluster.answer(await cluster.submit({ prompt: { ids: document } }));
  const other = handOver(await cluster.events(await cluster.submit({ prompt: { ids: document }, tenant: "other" })));
  const same = handOver(await cluster.events(await cluster.submit({ prompt: { ids: document } })));
  expect([other.cached, same.cached]).toEqual([0, 6 * SEGMENT]);
});

test("the next turn of a chat starts at the end of the answer before", async () => {
  cluster = testCluster({ clock });
  cluster.start("prefill");
  cluster.start("decode");
  const first = { prompt: { ids: promptIds(300) }, maxTokens: 2_000 };
  const { ids, end } = await cluster.answer(await cluster.submit(first));
  expect(end).toMatchObject({ reason: "stop" });
  const turn = Int32Array.from([...promptIds(300), ...ids, EOS, 17, 18, 19]);
  const next = await cluster.submit({ prompt: { ids: turn } });
  expect(handOver(await cluster.events(next))).toMatchObject({ cached: turn.length - 4, recomputed: 0 });
  expect((await cluster.answer(next)).ids).toEqual((await alone(requestOf({ prompt: { ids: turn } }))).ids);
});

test("without a boundary only the windows are rebuilt, over stored rows", async () => {
  cluster = testCluster({ clock });
  cluster.start("prefill", { settings: { boundaryTokens: 4_096 } });
  cluster.start("decode");
  await cluster.answer(await cluster.submit({ prompt: { ids: question(1) } }));
  const again = await cluster.submit({ prompt: { ids: question(2) } });
  expect(handOver(await cluster.events(again))).toMatchObject({ cached: 6 * SEGMENT, recomputed: 160 });
  expect((await cluster.answer(again)).ids).toEqual((await alone(requestOf({ prompt: { ids: question(2) } }))).ids);
});

test("a replay that passes where boundaries are stored leaves none there: its windows are not whole yet", async () => {
  cluster = testCluster({ clock });
  const without = cluster.start("prefill", { settings: { boundaryTokens: 4_096 } });
  cluster.start("decode");
  const prompt = (shared: number, n: number) => ({ prompt: { ids: Int32Array.from([...promptIds(shared), 100 + n, 200 + n]) } });
  await cluster.answer(await cluster.submit(prompt(3 * SEGMENT, 1)));
  await without.drain();
  cluster.start("prefill", { settings: { boundaryTokens: 2 * SEGMENT } });
  const replays = prompt(3 * SEGMENT, 2); // from 384 - 160 to 384, past 256
  const startsThere = prompt(2 * SEGMENT, 3);
  for (const request of [replays, startsThere]) {
    expect((await cluster.answer(await cluster.submit(request))).ids).toEqual((await alone(requestOf(request))).ids);
  }
});

test("a prompt in the payload store is the same prompt", async () => {
  cluster = testCluster({ clock });
  cluster.start("prefill");
  cluster.start("decode");
  const ids = promptIds(700);
  await cluster.bus.payloads.put("big", new Uint8Array(ids.buffer));
  const { ids: answer } = await cluster.answer(await cluster.submit({ prompt: { payload: "big" }, promptTokens: 700 }));
  expect(answer).toEqual((await alone(requestOf({ prompt: { ids } }))).ids);
  const gone = await cluster.answer(await cluster.submit({ prompt: { payload: "gone" }, promptTokens: 700 }));
  expect(gone.end).toMatchObject({ type: "failed", code: "NOT_FOUND" });
});

test("a prompt the model cannot take fails at once and by name", async () => {
  cluster = testCluster({ clock });
  cluster.start("prefill");
  const end = async (request: Parameters<TestCluster["submit"]>[0]) => (await cluster.answer(await cluster.submit(request))).end;
  expect(await end({ prompt: { ids: promptIds(5_000) } })).toMatchObject({ type: "failed", code: "CONTEXT_LENGTH" });
  expect(await end({ prompt: { ids: Int32Array.of(2, 3, 9_999) } })).toMatchObject({ type: "failed", code: "INVALID_REQUEST" });
  expect(await end({ prompt: { ids: new Int32Array(0) } })).toMatchObject({ type: "failed", code: "INVALID_REQUEST" });
});

test("equal prompts that end with a segment wait for what they can use, and not for the last one, which each runs itself", async () => {
  cluster = testCluster({ clock });
  for (const role of ["prefill", "prefill", "decode"] as const) cluster.start(role, { engine: { chunkMs: 60 } });
  const prompt = { ids: promptIds(2 * SEGMENT) };
  await cluster.answer(await cluster.submit({ prompt }));
  const jobs = await Promise.all([0, 1, 2, 3].map(() => cluster.submit({ prompt })));
  for (const jobId of jobs) {
    const records = await cluster.events(jobId);
    expect(records.filter(({ event }) => event.type === "released")).toEqual([]);
    expect(handOver(records).cached).toBeGreaterThanOrEqual(SEGMENT);
    expect((await cluster.answer(jobId)).ids).toEqual((await alone(requestOf({ prompt }))).ids);
  }
});
