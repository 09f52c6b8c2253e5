import { afterEach, expect, test } from "vitest";
import type { LogRecord } from "../../../../services/shared/bus/events.ts";
import type { SegmentStore } from "../../../../services/shared/segments/contract.ts";
import {
  crowdedOut,
  isClaimedToDecode,
  isDecoded,
  job,
  type KvCluster,
  kvCluster,
  releases,
  roomFor,
} from "../../../support/kv-cluster.ts";
import { promptIds, SEGMENT } from "../../../support/model.ts";
import { overriding } from "../../../support/overriding.ts";

let it: KvCluster;
afterEach(() => it.cluster.close());

const OVERTAKEN = "interactive work goes first";
const PREFIX_IS_COMPUTED = "another job computes the same prefix";
const endless = { eosOneIn: 1e9 };
/** One page, and an answer of so many tokens. */
const small = (salt: number, maxTokens: number) => job(1, salt, { prompt: { ids: promptIds(20, salt) }, maxTokens });
const passed = async (work: () => Promise<unknown>): Promise<number> => {
  const beganMs = it.clock.monotonicMs();
  await work();
  return it.clock.monotonicMs() - beganMs;
};

test("as many batch jobs leave at once as interactive work needs, and none of those that wait come in before it", async () => {
  it = kvCluster();
  it.start("decode", roomFor(12), { stepMs: 400, batchMax: 16, ...endless });
  it.start("prefill", { prefillSlots: 8 });
  const batch = await it.submitAll(Array.from({ length: 60 }, (_, i) => ({ ...small(i, 10 + ((i * 37) % 90)), lane: "batch" as const })));
  for (const jobId of batch.slice(0, 12)) await it.cluster.until(jobId, isDecoded);
  const tookMs = await passed(async () => it.cluster.events(await it.cluster.submit(job(8, 999, { maxTokens: 10 }))));
  expect(tookMs).toBeLessThan((10 + 8) * 400); // ten steps of its own, and those that leave: one after the other took a hundred times as long
  expect(releases(await Promise.all(batch.map((jobId) => it.cluster.events(jobId))), OVERTAKEN)).toBeLessThanOrEqual(8 + 1); // a page each, and one that waited leaves its slot
});

test("nobody leaves for what would not fit all the same", async () => {
  it = kvCluster();
  it.start("decode", roomFor(10), { stepMs: 200, batchMax: 16, ...endless });
  it.start("prefill", { prefillSlots: 8 });
  const first = await it.cluster.submit(job(3, 1, { maxTokens: 600 })); // eight pages
  await it.cluster.until(first, isDecoded);
  const batch = await it.submitAll([50, 51].map((salt) => ({ ...small(salt, 100), lane: "batch" as const })));
  for (const jobId of batch) await it.cluster.until(jobId, isDecoded);
  await it.cluster.events(await it.cluster.submit(job(5, 2)));
  expect(releases(await Promise.all(batch.map((jobId) => it.cluster.events(jobId))), OVERTAKEN)).toBe(0);
});

test("once who waited has its room, others come at once into what is left", async () => {
  it = kvCluster();
  it.start("decode", roomFor(11), { stepMs: 50, ...endless });
  it.start("prefill", { prefillSlots: 4 });
  const first = await it.cluster.submit(job(5, 1, { maxTokens: 20 }));
  await it.cluster.until(first, isDecoded);
  const waits = await it.cluster.submit(job(6, 2, { maxTokens: 400 }));
  await it.cluster.until(waits, isClaimedToDecode);
  await it.cluster.until(waits, isDecoded);
  const jobId = await it.cluster.submit(small(3, 15));
  expect(await passed(() => it.cluster.until(jobId, isDecoded))).toBeLessThan(1_000);
});

test("a large job waits for those before it, not for a stream of small ones behind it", async () => {
  it = kvCluster();
  it.start("decode", roomFor(10), { stepMs: 400, batchMax: 16, ...endless });
  it.start("prefill", { prefillSlots: 8 });
  const pause = (ms: number) => it.clock.run(it.clock.sleep(ms));
  for (let i = 0; i < 6; i++) {
    await it.cluster.submit(small(i, 100)); // forty seconds
    await pause(3_000);
  }
  let isDone = false;
  const large = await it.cluster.submit(job(7, 999));
  void it.cluster.events(large).then(() => (isDone = true));
  const tookMs = await passed(async () => {
    for (let i = 6; !isDone; i++) {
      await it.cluster.submit(small(i, 100));
      await pause(5_000);
    }
  });
  expect(tookMs).toBeLessThan(60_000);
});

test.each(["interactive", "batch"] as const)(
  "who waits for minutes behind one giant answer is claimed now and then, not all the time (%s)",
  async (lane) => {
    it = kvCluster();
    it.start("decode", roomFor(16), { stepMs: 400, batchMax: 32, ...endless });
    it.start("prefill", { prefillSlots: 8 });
    const giant = await it.cluster.submit(job(9, 1, { maxTokens: 700 })); // for 280 seconds
    await it.cluster.until(giant, isDecoded);
    const wait = await it.submitAll(Array.from({ length: 30 }, (_, i) => job(3, 10 + i, { lane })));
    const logs = await Promise.all(wait.map((jobId) => it.cluster.events(jobId)));
    expect(crowdedOut(logs)).toBeGreaterThan(0);
    expect(crowdedOut(logs)).toBeLessThanOrEqual(40);
  },
);

test("interactive jobs come together though a batch job waits for room", async () => {
  it = kvCluster();
  it.start("decode", roomFor(20), { stepMs: 20, batchMax: 32, ...endless });
  it.start("prefill", { prefillSlots: 8 });
  const [first, second] = await it.submitAll([1, 2].map((salt) => job(11, salt, { lane: "batch", maxTokens: 400 })));
  await Promise.all([first, second].map((jobId) => it.cluster.until(jobId!, isClaimedToDecode)));
  const jobs = await it.submitAll(Array.from({ length: 5 }, (_, i) => small(10 + i, 100)));
  const tookMs = await passed(() => Promise.all(jobs.map((jobId) => it.cluster.until(jobId, isDecoded))));
  expect(tookMs).toBeLessThan(2 * 250 + 100); // one look, not one for each
});

test("what the store forgot is still shared while a neighbour has it", async () => {
  let forgets = false;
  it = kvCluster((store: SegmentStore) =>
    overriding(store, {
      countPrefix: async (keys) => (forgets ? 0 : store.countPrefix(keys)),
      get: async (...asked) => (forgets ? null : store.get(...asked)),
    }),
  );
  const prefill = it.start("prefill", { ...roomFor(16), prefillSlots: 4 }, { chunkMs: 400 });
  it.start("decode", {});
  const prefix = promptIds(9 * SEGMENT);
  const of = (salt: number, more = 60) => job(1, 0, { prompt: { ids: Int32Array.of(...prefix, ...promptIds(more, salt)) }, maxTokens: 5 });
  await it.cluster.events(await it.cluster.submit(of(1)));
  const neighbour = await it.cluster.submit(of(2, 5 * SEGMENT)); // loads nine, computes five
  await it.cluster.until(neighbour, ({ event }) => event.type === "progress");
  await it.clock.run(it.clock.sleep(500));
  forgets = true;
  await it.cluster.events(await it.cluster.submit(of(3)));
  expect(prefill.most).toEqual({ pages: 15, sequences: 2 });
});

test("who waits for a prefix that another computes puts nobody out for room", async () => {
  it = kvCluster();
  it.start("prefill", { ...roomFor(14), prefillSlots: 4 }, { chunkMs: 1_000 });
  it.start("decode", {});
  const prefix = promptIds(6 * SEGMENT);
  const of = (salt: number) => job(1, 0, { prompt: { ids: Int32Array.of(...prefix, ...promptIds(60, salt)) } });
  const first = await it.cluster.submit(of(1));
  const batch = await it.cluster.submit(job(6, 7, { lane: "batch" }));
  for (const jobId of [first, batch]) await it.cluster.until(jobId, ({ event }) => event.type === "progress");
  const second = await it.cluster.submit(of(2));
  const logs = await Promise.all([first, batch, second].map((jobId) => it.cluster.events(jobId)));
  const releasedFor = (records: readonly LogRecord[] = [], reason: string) =>
    records.flatMap(({ event, sequence }) => (event.type === "released" && event.reason === reason ? sequence : []));
  const waited = releasedFor(logs[2], PREFIX_IS_COMPUTED);
  expect(waited.length).toBeGreaterThan(0);
  for (const sequence of releasedFor(logs[1], OVERTAKEN)) expect(sequence).toBeGreaterThan(Math.max(...waited));
});
