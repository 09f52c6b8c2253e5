import { afterEach, expect, test } from "vitest";
import type { Claim, JobLog } from "../../../services/shared/bus/contract.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { alone } from "../../support/alone.ts";
import { forgetfulStore } from "../../support/forgetful-store.ts";
import { EOS, engineOptions, letter, promptIds } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { testSeed } from "../../support/seed.ts";
import { memoryStore, requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let cluster: TestCluster;
afterEach(() => cluster.close());

const nothing = { sequences: 0, memories: 0 };

test("whatever the prompts, limits, seeds and stops, every job gives the ids of the engine alone, and nothing is left behind", async () => {
  const random = seededRandom(testSeed());
  const whole = (max: number) => random.u32() % max;
  cluster = testCluster();
  const workers = [cluster.start("prefill"), cluster.start("prefill"), cluster.start("decode"), cluster.start("decode")];
  const requests = await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const request = {
        prompt: { ids: promptIds(1 + whole(900), whole(3)) },
        maxTokens: 1 + whole(300),
        stopIds: whole(2) === 0 ? [EOS] : [],
        sampling: { temperature: whole(2), topP: 1, topK: 0, minP: 0, seed: BigInt(whole(5)) << 40n },
      };
      const { ids } = await alone(requestOf(request));
      const at = whole(ids.length || 1);
      return i % 4 === 0 && ids.length > 0
        ? {
            ...request,
            stop: [
              ids
                .slice(at, at + 2)
                .map(letter)
                .join(""),
            ],
          }
        : request;
    }),
  );
  const jobs = await Promise.all(requests.map((request) => cluster.submit(request)));
  for (const [i, jobId] of jobs.entries()) {
    const expected = await alone(requestOf(requests[i]!));
    const { ids, end } = await cluster.answer(jobId);
    expect(ids, `job ${i}`).toEqual(expected.ids);
    expect(end, `job ${i}`).toMatchObject({
      type: "finished",
      reason: expected.reason,
      usage: { promptTokens: requestOf(requests[i]!).promptTokens, completionTokens: expected.ids.length },
    });
  }
  await cluster.close();
  expect(workers.map(({ engine }) => engine.held)).toEqual(Array(4).fill(nothing));
});

test("a store that forgets, refuses and miscounts changes only time", async () => {
  const random = seededRandom(testSeed());
  cluster = testCluster({ store: forgetfulStore(memoryStore(), random, () => 30) });
  const workers = [cluster.start("prefill"), cluster.start("decode"), cluster.start("decode")];
  const requests = Array.from({ length: 24 }, (_, i) => ({
    prompt: { ids: promptIds(200 + (random.u32() % 1_200), i % 4) },
    maxTokens: 150,
  }));
  const jobs = await Promise.all(requests.map((request) => cluster.submit(request)));
  for (const [i, jobId] of jobs.entries()) {
    const { ids } = await cluster.answer(jobId);
    expect(ids, `job ${i}`).toEqual((await alone(requestOf(requests[i]!))).ids);
  }
  await cluster.close();
  expect(workers.map(({ engine }) => engine.held)).toEqual(Array(3).fill(nothing));
});

test("an answer ends at the model's context", async () => {
  const options = { ...engineOptions, contextTokens: 320, eosOneIn: 0 };
  cluster = testCluster();
  cluster.start("prefill", { engine: options });
  cluster.start("decode", { engine: options });
  const request = { prompt: { ids: promptIds(300) }, maxTokens: 1_000 };
  const { ids, end } = await cluster.answer(await cluster.submit(request));
  expect(ids).toEqual((await alone(requestOf(request), options)).ids);
  expect(ids).toHaveLength(20);
  expect(end).toMatchObject({ type: "finished", reason: "length" });
});

test("the first token may end the answer: as a stop id, as the only one, as a stop string", async () => {
  const prompt = { ids: promptIds(50) };
  const first = (await alone(requestOf({ prompt, maxTokens: 1 }))).ids[0]!;
  cluster = testCluster();
  cluster.start("prefill");
  cluster.start("decode");
  const end = async (request: Parameters<typeof requestOf>[0]) => {
    const answer = await cluster.answer(await cluster.submit({ prompt, ...request }));
    return [answer.end, answer.ids];
  };
  const usage = (completionTokens: number) => ({ promptTokens: 50, completionTokens, cachedTokens: 0 });
  expect(await end({ maxTokens: 1 })).toEqual([{ type: "finished", reason: "length", usage: usage(1) }, [first]]);
  expect(await end({ stop: [letter(first)] })).toEqual([{ type: "finished", reason: "stop", usage: usage(1) }, [first]]);
  const stopped = await end({ stopIds: [first] });
  expect(stopped[0]).toEqual({ type: "finished", reason: "stop", usage: usage(0) });
});

test("a slow log makes its job wait and not its neighbours", async () => {
  const slow = "job-3"; // two workers, then the first job
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const slowClaim = (claim: Claim) =>
    overriding(claim, {
      append: async (event) => {
        if (event.type === "tokens") await released;
        return await claim.append(event);
      },
    });
  const slowLog = (log: JobLog) =>
    overriding(log, {
      claim: async (jobId, phase, worker) => {
        const result = await log.claim(jobId, phase, worker);
        return result.kind === "claimed" && jobId === slow ? { ...result, claim: slowClaim(result.claim) } : result;
      },
    });
  cluster = testCluster({ busOf: (bus) => ({ ...bus, log: slowLog(bus.log) }) });
  const options = { engine: { eosOneIn: 0 }, settings: { claimMs: 10_000 } };
  cluster.start("prefill", options);
  cluster.start("decode", options);
  const request = { prompt: { ids: promptIds(40) }, maxTokens: 300 };
  expect(await cluster.submit(request)).toBe(slow);
  const fast = await cluster.submit(request);
  const { ids } = await cluster.answer(fast);
  expect(ids).toHaveLength(300);
  expect((await cluster.bus.log.last(slow))?.tokenCount).toBe(1);
  release();
  expect((await cluster.answer(slow)).ids).toEqual(ids);
  const appended = (await cluster.events(slow)).map(({ event }) => (event.type === "finished" ? event.tokens : event));
  expect(Math.max(...appended.map((event) => (event !== undefined && "ids" in event ? event.ids.length : 0)))).toBeLessThanOrEqual(64);
});
