import { expect, test } from "vitest";
import { Admission } from "../../../services/api/admission/admission.ts";
import { Prompts } from "../../../services/api/admission/prompts.ts";
import { enqueue } from "../../../services/shared/bus/enqueue.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { CHUNK_MS, crowd, long, short } from "../../support/crowd.ts";
import { Dice } from "../../support/dice.ts";
import { promptIds } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { requestOf } from "../../support/workers.ts";

const limits = { queueJobsMax: 1_000, backlogTokensMax: 1e9, shareMs: 10_000 };
const seconds = (ids: { readonly length: number }[]) => ids.reduce((sum, { length }) => sum + length, 0) / 96; // a chunk is a second

test.each(Array.from({ length: 10 }, (_, seed) => [seed]))(
  "a prompt behind long ones is told the time that turns take, not that of all that is before it (seed %d)",
  async (seed) => {
    const dice = new Dice(seededRandom(seed));
    const it = crowd({ slots: dice.whole(1, 3), stepMs: 1 });
    const { bus } = it.cluster;
    const admission = new Admission(bus, it.clock, "m", limits);
    const longs = Array.from({ length: dice.whole(2, 6) }, (_, salt) => long(salt, dice.whole(1_500, 3_900)));
    const shorts = Array.from({ length: dice.pick([0, 0, 5, 20]) }, (_, salt) => promptIds(dice.whole(20, 200), 500 + salt));
    const work = async () => {
      await it.cluster.events(await it.submit(short)); // decode has shown its speed
      const jobs = await Promise.all(longs.map((ids) => it.submit(ids)));
      await it.isComputed(jobs[0]!);
      await it.clock.sleep(dice.upTo(5 * CHUNK_MS));
      const ids = promptIds(dice.whole(20, 400), 400);
      jobs.push(...(await Promise.all(shorts.map((ids) => it.submit(ids)))));
      const told = await admission.estimate({ lane: "interactive", promptTokens: ids.length });
      const askedMs = it.clock.nowMs();
      const begun = await it.cluster.until(await it.submit(ids), ({ event }) => event.type === "handed_over");
      await Promise.all(jobs.map((jobId) => it.cluster.events(jobId)));
      await it.cluster.close();
      return { told: told!, took: (begun.atMs - askedMs) / 1_000, behindAll: seconds([...longs, ...shorts, ids]) };
    };
    const { told, took, behindAll } = await it.clock.run(work());
    expect(took).toBeLessThanOrEqual(told);
    if (shorts.length === 0) expect(told).toBeLessThan(0.7 * behindAll);
  },
);

test("while the store takes nothing no place changes hands, and who asks is told so", async () => {
  const it = crowd({ slots: 1, stepMs: 1, store: (store) => overriding(store, { put: async () => false }) });
  const admission = new Admission(it.cluster.bus, it.clock, "m", limits);
  const work = async () => {
    await it.cluster.events(await it.submit(short)); // decode has shown its speed
    const jobs = await Promise.all([1, 2, 3].map((salt) => it.submit(long(salt))));
    await it.isComputed(jobs[0]!);
    await it.clock.sleep(4 * CHUNK_MS);
    const told = await admission.estimate({ lane: "interactive", promptTokens: short.length });
    const askedMs = it.clock.nowMs();
    const begun = await it.cluster.until(await it.submit(short), ({ event }) => event.type === "handed_over");
    await it.cluster.close();
    return { told: told!, took: (begun.atMs - askedMs) / 1_000 };
  };
  const { told, took } = await it.clock.run(work());
  expect(took).toBeLessThanOrEqual(told);
});

const turns = { turnMs: 1_500, chunkMs: 500 };

/** The door where a prompt of so many tokens waits, and what is said beside it; prefill does 1,000 tokens a second, or as many as is said, and so does decode. */
async function doorBehind(
  tokens: number,
  prefill: { turnMs?: number; chunkMs?: number; tokensPerSecond?: number } = {},
  { batch = 0, inDecode = 0 }: { batch?: number; inDecode?: number } = {},
) {
  const clock = new VirtualClock();
  const bus = openBus({ url: "memory:", clock });
  const beat = { model: "m", slots: 2, tokensPerSecond: 1_000, tokensPerJobSecond: 1_000 };
  await bus.registry.beat("prefill", "p", JSON.stringify({ ...beat, ...prefill }));
  await bus.registry.beat("decode", "d", JSON.stringify(beat));
  const waiting = (tokens: number) => requestOf({ prompt: { ids: new Int32Array(tokens) }, promptTokens: tokens, maxTokens: 1 });
  if (tokens > 0) await enqueue(bus.queue, "prefill", "long", waiting(tokens), 0);
  if (batch > 0) await enqueue(bus.queue, "prefill", "batch", { ...waiting(batch), lane: "batch" }, 0);
  for (let i = 0; i < inDecode; i++) await enqueue(bus.queue, "decode", `answer-${i}`, waiting(10), 0);
  const admission = new Admission(bus, clock, "m", limits);
  return {
    estimate: (lane: "interactive" | "batch") => admission.estimate({ lane, promptTokens: 100 }),
    require: (seconds: number) =>
      admission.require(
        { tenant: "t", lane: "interactive", promptTokens: 100, maxTokens: 10, deadlineMs: clock.nowMs() + 1_000 * seconds },
        1,
      ),
  };
}

test("a batch job waits for all that is before it; so does every job where workers have no turns", async () => {
  const some = await doorBehind(100_000, turns);
  expect(await some.estimate("interactive")).toBe(4.4); // 0.1 + 2 * (0.1 + 1.5) + 0.1 + 2 * 0.5
  expect(await some.estimate("batch")).toBe(100.1);
  const none = await doorBehind(100_000);
  expect(await none.estimate("interactive")).toBe(100.1);
});

test("answers under way add nothing to a prompt's wait, and batch work its chunks beside it, with turns and without", async () => {
  const beside = { batch: 10_000_000, inDecode: 200 };
  expect(await (await doorBehind(100_000, turns, beside)).estimate("interactive")).toBe(4.5);
  const none = await doorBehind(0, {}, beside);
  expect(await none.estimate("interactive")).toBe(0.2); // of prefill; 200 answers of a token take decode as long
  await none.require(1);
});

test("who is refused is told when there is room: turns take the same until a long prompt is done", async () => {
  const told = { code: "OVERLOADED", retryAfterSeconds: 22 }; // (4.41 - 0.7 * 5) * 100 / 4.3
  for (const batch of [0, 10_000_000]) {
    const { require } = await doorBehind(100_000, turns, { batch });
    await require(6.5);
    await expect(require(5)).rejects.toMatchObject({ ...told, retryAfterSeconds: batch === 0 ? 22 : 24 }); // a chunk of theirs beside each of its own
  }
  const { require } = await doorBehind(6_000, {}, { batch: 10_000_000 });
  await expect(require(5)).rejects.toMatchObject({ ...told, retryAfterSeconds: 3 }); // 6.21 - 0.7 * 5
});

test("a deadline that the job alone would miss is told so: to come again does not help", async () => {
  const refusal = async (seconds: number) => (await doorBehind(6_000)).require(seconds).catch((error: Error) => error.message);
  expect(await refusal(0.2)).toMatch(/at the current load; try again in \d+ s$/);
  expect(await refusal(0.1)).toMatch(/even on an idle cluster it would take about 1 s: set a longer deadline; try again/); // 0.11
});

test("where nobody waits a job is tried, however slow the workers showed themselves", async () => {
  await (await doorBehind(0, { tokensPerSecond: 0.01 })).require(1);
  await expect((await doorBehind(1, { tokensPerSecond: 0.01 })).require(1)).rejects.toMatchObject({ code: "OVERLOADED" });
});

test.each(Array.from({ length: 20 }, (_, seed) => [seed]))(
  "of prompts, no more than so much of each: at most twice too much (seed %d)",
  (seed) => {
    const dice = new Dice(seededRandom(seed));
    const [prompts, sizes] = [new Prompts(), Array.from({ length: dice.whole(0, 50) }, () => dice.size(1, 1_000_000))];
    for (const size of sizes) prompts.add(size);
    for (const most of [0, dice.size(1, 1_000_000), dice.size(1, 1_000_000)]) {
      const exact = sizes.reduce((sum, size) => sum + Math.min(size, most), 0);
      expect(prompts.tokens(most)).toBeGreaterThanOrEqual(exact);
      expect(prompts.tokens(most)).toBeLessThanOrEqual(2 * exact);
    }
    expect(prompts.tokens()).toBe(sizes.reduce((sum, size) => sum + size, 0));
  },
);
