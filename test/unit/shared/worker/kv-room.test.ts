import { afterEach, beforeEach, expect, test } from "vitest";
import type { JobRequest, LogRecord } from "../../../../services/shared/bus/events.ts";
import { NO_ROOM } from "../../../../services/shared/bus/reasons.ts";
import type { EngineInfo } from "../../../../services/shared/engine/engine.ts";
import type { WeightlessOptions } from "../../../../services/shared/engine/weightless.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import type { HeldJob } from "../../../../services/shared/worker/held-job.ts";
import { Holding, KvRoom } from "../../../../services/shared/worker/kv-room.ts";
import { alone } from "../../../support/alone.ts";
import { Dice } from "../../../support/dice.ts";
import { countingPages, type HeldPages } from "../../../support/held-pages.ts";
import { engineOptions, promptIds, SEGMENT } from "../../../support/model.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";
import { requestOf, type Settings, type TestCluster, testCluster } from "../../../support/workers.ts";

let clock: VirtualClock;
let cluster: TestCluster;
beforeEach(() => {
  clock = new VirtualClock();
  cluster = testCluster({ clock });
});
afterEach(() => cluster.close());

/** Of the weightless engine: four bytes a token, and four for each sequence. */
const PAGE = 4 * SEGMENT;
const roomFor = (pages: number, sequences = 8) => ({ kvBytes: PAGE * pages + 4 * sequences });

/** A worker whose sequences' pages are counted. */
function start(role: "prefill" | "decode", settings: Partial<Settings>, engine: WeightlessOptions = {}): HeldPages {
  let counted: HeldPages | null = null;
  cluster.start(role, {
    settings: { claimMs: 5_000, ...settings },
    engine,
    engineOf: (engine) => {
      counted = countingPages(engine);
      return counted.engine;
    },
  });
  return counted!;
}

const job = (pages: number, salt: number, more: Partial<JobRequest> = {}): Partial<JobRequest> => ({
  prompt: { ids: promptIds(pages * SEGMENT - 20, salt) },
  maxTokens: 15,
  stopIds: [],
  ...more,
});

/** The log of each job, once all have ended with the ids of the engine alone and no attempt was counted. */
async function ended(
  requests: readonly Partial<JobRequest>[],
  jobs: readonly string[],
  options: WeightlessOptions = {},
): Promise<LogRecord[][]> {
  const logs = await Promise.all(jobs.map((jobId) => cluster.events(jobId)));
  for (const [i, jobId] of jobs.entries()) {
    const { ids, reason } = await alone(requestOf(requests[i]!), { ...engineOptions, ...options });
    expect(await cluster.answer(jobId)).toMatchObject({ ids, end: { type: "finished", reason } });
    expect(Math.max(...logs[i]!.map(({ attempt }) => attempt))).toBeLessThanOrEqual(1);
  }
  return logs;
}

const crowdedOut = (logs: readonly LogRecord[][]) =>
  logs.flat().filter(({ event }) => event.type === "released" && event.reason === NO_ROOM).length;
const submitAll = (requests: readonly Partial<JobRequest>[]) => Promise.all(requests.map((request) => cluster.submit(request)));

test.each(["prefill", "decode"] as const)("a %s worker holds no more KV than it may, and who finds no room waits for it", async (role) => {
  const counted = start(role, { ...roomFor(7), prefillSlots: 6 }, { chunkMs: 20, stepMs: 5 });
  start(role === "prefill" ? "decode" : "prefill", {});
  const requests = Array.from({ length: 6 }, (_, salt) => job(3, salt));
  const logs = await ended(requests, await submitAll(requests));
  expect(counted.most).toEqual({ pages: 6, sequences: 2 });
  expect(crowdedOut(logs)).toBeGreaterThan(0);
  expect(crowdedOut(logs)).toBeLessThanOrEqual(4 + 4); // those that came with the first two, and one for each end
});

test("segments that sequences share take room once", async () => {
  const decode = start("decode", roomFor(11), { stepMs: 20 });
  start("prefill", { prefillSlots: 4 });
  const prefix = promptIds(8 * SEGMENT);
  const requests = [1, 2, 3].map((salt) =>
    job(1, 0, { prompt: { ids: Int32Array.of(...prefix, ...promptIds(20, salt)) }, maxTokens: 100 }),
  );
  const logs = await ended(requests, await submitAll(requests));
  expect(decode.most).toEqual({ pages: 11, sequences: 3 });
  expect(crowdedOut(logs)).toBe(0);
});

test("a job that needs more than there is at all is done alone", async () => {
  const decode = start("decode", roomFor(4), { stepMs: 5 });
  start("prefill", roomFor(4));
  const requests = [job(2, 1), job(6, 2), job(2, 3)];
  await ended(requests, await submitAll(requests));
  expect(decode.most.pages).toBeLessThanOrEqual(4);
});

test("an answer that outgrows its room gives up its place to its neighbour, and goes on after it", async () => {
  const long = { contextTokens: 8_192 };
  const decode = start("decode", roomFor(67), { stepMs: 1, ...long });
  start("prefill", { prefillSlots: 2 }, long);
  const requests = [1, 2].map((salt) => job(1, salt, { maxTokens: 4_400 }));
  const logs = await ended(requests, await submitAll(requests), long);
  expect(decode.most).toEqual({ pages: 67, sequences: 2 });
  expect(crowdedOut(logs)).toBeGreaterThan(0);
});

test("a batch job leaves where interactive work needs its room, which goes first", async () => {
  const decode = start("decode", roomFor(13), { stepMs: 5 });
  start("prefill", {});
  const requests = [1, 2].map((salt) => job(3, salt, { lane: "batch", maxTokens: 400 }));
  const jobs = await submitAll(requests);
  for (const jobId of jobs) await cluster.until(jobId, ({ event }) => event.type === "tokens");
  requests.push(job(5, 3));
  jobs.push(await cluster.submit(requests[2]));
  const logs = await ended(requests, jobs);
  const ends = logs.map((records) => records.at(-1)!.sequence);
  expect(ends[2]).toBe(Math.min(...ends));
  const reasons = logs.slice(0, 2).flatMap((records) => records.flatMap(({ event }) => (event.type === "released" ? event.reason : [])));
  expect(reasons.filter((reason) => reason === "interactive work goes first")).toHaveLength(1);
  expect(crowdedOut([logs[2]!])).toBe(0);
  expect(decode.most.pages).toBeLessThanOrEqual(13);
});

test("short interactive work does not wait until a batch job has room", async () => {
  start("decode", roomFor(8), { stepMs: 5 });
  start("prefill", {});
  const requests = [job(4, 1, { maxTokens: 400 }), job(7, 2, { lane: "batch" })];
  const jobs = [await cluster.submit(requests[0])];
  await cluster.until(jobs[0]!, ({ event }) => event.type === "tokens");
  jobs.push(await cluster.submit(requests[1]));
  await cluster.until(jobs[1]!, ({ event }) => event.type === "released");
  requests.push(job(1, 3));
  jobs.push(await cluster.submit(requests[2]));
  const ends = (await ended(requests, jobs)).map((records) => records.at(-1)!.sequence);
  expect(ends.indexOf(Math.min(...ends))).toBe(2);
  expect(ends.indexOf(Math.max(...ends))).toBe(1);
});

test("who finds no room at one worker is taken by another that has it", async () => {
  const [one, two] = [start("decode", roomFor(6), { stepMs: 20 }), start("decode", roomFor(6), { stepMs: 20 })];
  start("prefill", { prefillSlots: 4 });
  const requests = [1, 2, 3, 4].map((salt) => job(3, salt, { maxTokens: 100 }));
  const jobs = await submitAll(requests);
  for (const jobId of jobs) await cluster.until(jobId, ({ event }) => event.type === "tokens");
  expect([one!.most.sequences, two!.most.sequences]).toEqual([1, 1]);
  await ended(requests, jobs);
});

test.each(Array.from({ length: 8 }, (_, seed) => [seed]))(
  "whatever comes in whatever order is done, and nobody holds more than he may (seed %d)",
  async (seed) => {
    const dice = new Dice(seededRandom(seed));
    const pages = dice.whole(4, 16);
    const prefill = start("prefill", { ...roomFor(pages), prefillSlots: dice.whole(1, 6) }, { chunkMs: dice.whole(0, 50) });
    const decode = Array.from({ length: dice.whole(1, 2) }, () => start("decode", roomFor(pages), { stepMs: dice.whole(0, 20) }));
    const requests = Array.from({ length: 14 }, () =>
      job(dice.whole(1, dice.chance(0.2) ? 24 : 6), dice.whole(1, 4), {
        lane: dice.pick(["interactive", "batch"]),
        maxTokens: dice.whole(1, 300),
      }),
    );
    const jobs: string[] = [];
    for (const request of requests) {
      jobs.push(await cluster.submit(request));
      await clock.run(clock.sleep(dice.upTo(400)));
    }
    await ended(requests, jobs);
    for (const { most } of [prefill, ...decode]) expect(most.pages).toBeLessThanOrEqual(pages);
  },
);

test("a job that was larger than all of the room is not waited for for ever: others come together again", async () => {
  const info = { segmentTokens: SEGMENT, segmentBytes: PAGE, stateBytes: 0 } as EngineInfo;
  const room = new KvRoom(info, 10 * PAGE, clock);
  const held = { request: { lane: "interactive" }, signal: new AbortController().signal } as HeldJob;
  const first = new Holding();
  await room.enter(first, SEGMENT, held);
  await expect(room.enter(new Holding(), 11 * SEGMENT, held)).rejects.toMatchObject({ why: "crowded" });
  expect([room.tight, room.owedTo]).toEqual([true, "interactive"]);
  room.leave(first);
  expect([room.tight, room.owedTo]).toEqual([true, null]);
  await room.enter(first, 11 * SEGMENT, held);
  await clock.run(clock.sleep(10_000));
  expect([room.tight, room.owedTo]).toEqual([false, null]);
});
