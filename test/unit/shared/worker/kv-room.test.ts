import { afterEach, beforeEach, expect, test } from "vitest";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { Dice } from "../../../support/dice.ts";
import { crowdedOut, job, type KvCluster, kvCluster, roomFor } from "../../../support/kv-cluster.ts";
import { promptIds, SEGMENT } from "../../../support/model.ts";

let it: KvCluster;
beforeEach(() => {
  it = kvCluster();
});
afterEach(() => it.cluster.close());

test.each(["prefill", "decode"] as const)("a %s worker holds no more KV than it may, and who finds no room waits for it", async (role) => {
  const counted = it.start(role, { ...roomFor(7), prefillSlots: 6 }, { chunkMs: 20, stepMs: 5 });
  it.start(role === "prefill" ? "decode" : "prefill", {});
  const requests = Array.from({ length: 6 }, (_, salt) => job(3, salt));
  const logs = await it.ended(requests, await it.submitAll(requests));
  expect(counted.most).toEqual({ pages: 6, sequences: 2 });
  expect(crowdedOut(logs)).toBe(0); // nobody waited for longer than ten seconds
});

test("segments that sequences share take room once", async () => {
  const decode = it.start("decode", roomFor(11), { stepMs: 20 });
  it.start("prefill", { prefillSlots: 4 });
  const prefix = promptIds(8 * SEGMENT);
  const requests = [1, 2, 3].map((salt) =>
    job(1, 0, { prompt: { ids: Int32Array.of(...prefix, ...promptIds(20, salt)) }, maxTokens: 100 }),
  );
  const logs = await it.ended(requests, await it.submitAll(requests));
  expect(decode.most).toEqual({ pages: 11, sequences: 3 });
  expect(crowdedOut(logs)).toBe(0);
});

test("a job that needs more than there is at all is done alone", async () => {
  const decode = it.start("decode", roomFor(4), { stepMs: 5 });
  it.start("prefill", roomFor(4));
  const requests = [job(2, 1), job(6, 2), job(2, 3)];
  await it.ended(requests, await it.submitAll(requests));
  expect(decode.most.pages).toBeLessThanOrEqual(4);
});

test("an answer that outgrows its room gives up its place to its neighbour, and goes on after it", async () => {
  const long = { contextTokens: 8_192 };
  const decode = it.start("decode", roomFor(67), { stepMs: 1, ...long });
  it.start("prefill", { prefillSlots: 2 }, long);
  const requests = [1, 2].map((salt) => job(1, salt, { maxTokens: 4_400 }));
  const logs = await it.ended(requests, await it.submitAll(requests), long);
  expect(decode.most).toEqual({ pages: 67, sequences: 2 });
  expect(crowdedOut(logs)).toBeGreaterThan(0);
});

test("a batch job leaves where interactive work needs its room, which goes first", async () => {
  const decode = it.start("decode", roomFor(13), { stepMs: 5 });
  it.start("prefill", {});
  const requests = [1, 2].map((salt) => job(3, salt, { lane: "batch", maxTokens: 400 }));
  const jobs = await it.submitAll(requests);
  for (const jobId of jobs) await it.cluster.until(jobId, ({ event }) => event.type === "tokens");
  requests.push(job(5, 3));
  jobs.push(await it.cluster.submit(requests[2]));
  const logs = await it.ended(requests, jobs);
  const ends = logs.map((records) => records.at(-1)!.sequence);
  expect(ends[2]).toBe(Math.min(...ends));
  const reasons = logs.slice(0, 2).flatMap((records) => records.flatMap(({ event }) => (event.type === "released" ? event.reason : [])));
  expect(reasons.filter((reason) => reason === "interactive work goes first")).toHaveLength(1);
  expect(crowdedOut([logs[2]!])).toBe(0);
  expect(decode.most.pages).toBeLessThanOrEqual(13);
});

test("short interactive work does not wait until a batch job has room", async () => {
  it.start("decode", roomFor(8), { stepMs: 5 });
  it.start("prefill", {});
  const requests = [job(4, 1, { maxTokens: 400 }), job(7, 2, { lane: "batch" })];
  const jobs = [await it.cluster.submit(requests[0])];
  await it.cluster.until(jobs[0]!, ({ event }) => event.type === "tokens");
  jobs.push(await it.cluster.submit(requests[1]));
  await it.cluster.until(jobs[1]!, ({ event, phase }) => event.type === "claimed" && phase === "decode");
  requests.push(job(1, 3));
  jobs.push(await it.cluster.submit(requests[2]));
  const ends = (await it.ended(requests, jobs)).map((records) => records.at(-1)!.sequence);
  expect(ends.indexOf(Math.min(...ends))).toBe(2);
  expect(ends.indexOf(Math.max(...ends))).toBe(1);
});

test("who finds no room at one worker is taken by another that has it", async () => {
  const [one, two] = [it.start("decode", roomFor(6), { stepMs: 20 }), it.start("decode", roomFor(6), { stepMs: 20 })];
  it.start("prefill", { prefillSlots: 4 });
  const requests = [1, 2, 3, 4].map((salt) => job(3, salt, { maxTokens: 100 }));
  const jobs = await it.submitAll(requests);
  for (const jobId of jobs) await it.cluster.until(jobId, ({ event }) => event.type === "tokens");
  expect([one!.most.sequences, two!.most.sequences]).toEqual([1, 1]);
  await it.ended(requests, jobs);
});

test.each(Array.from({ length: 8 }, (_, seed) => [seed]))(
  "whatever comes in whatever order is done, and nobody holds more than he may (seed %d)",
  async (seed) => {
    const dice = new Dice(seededRandom(seed));
    const pages = dice.whole(4, 16);
    const prefill = it.start("prefill", { ...roomFor(pages), prefillSlots: dice.whole(1, 6) }, { chunkMs: dice.whole(0, 50) });
    const decode = Array.from({ length: dice.whole(1, 2) }, () => it.start("decode", roomFor(pages), { stepMs: dice.whole(0, 20) }));
    const requests = Array.from({ length: 14 }, () =>
      job(dice.whole(1, dice.chance(0.2) ? 24 : 6), dice.whole(1, 4), {
        lane: dice.pick(["interactive", "batch"]),
        maxTokens: dice.whole(1, 300),
      }),
    );
    const jobs: string[] = [];
    for (const request of requests) {
      jobs.push(await it.cluster.submit(request));
      await it.clock.run(it.clock.sleep(dice.upTo(400)));
    }
    await it.ended(requests, jobs);
    for (const { most } of [prefill, ...decode]) expect(most.pages).toBeLessThanOrEqual(pages);
  },
);
