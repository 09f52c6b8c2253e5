import { afterEach, expect, test } from "vitest";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { alone } from "../../support/alone.ts";
import { logprobsOf } from "../../support/answers.ts";
import { erasableStore } from "../../support/forgetful-store.ts";
import { promptIds } from "../../support/model.ts";
import { testSeed } from "../../support/seed.ts";
import { requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let cluster: TestCluster;
afterEach(() => cluster.close());

test("penalties, bias and log probabilities are those of the engine alone, whoever dies and whatever the store loses", async () => {
  const random = seededRandom(testSeed());
  const whole = (max: number) => random.u32() % max;
  const { store, erase } = erasableStore();
  cluster = testCluster({ store });
  const slow = { engine: { stepMs: 3 } };
  cluster.start("prefill", slow);
  const victim = cluster.start("decode", slow);
  const requests = Array.from({ length: 8 }, (_, i) => ({
    prompt: { ids: promptIds(100 + whole(500), whole(3)) },
    maxTokens: 120,
    stopIds: [],
    sampling: {
      ...{ temperature: whole(2), topP: 1, topK: 0, minP: 0, seed: BigInt(whole(9)) },
      ...(i % 2 === 0 && { presencePenalty: whole(3) - 1, frequencyPenalty: 0.5 }),
      ...(i % 3 === 0 && { bias: { ids: [5, 7], values: [3, -100] } }),
      ...(i % 4 < 2 && { topLogprobs: whole(4) }),
    },
  }));
  const jobs = await Promise.all(requests.map((request) => cluster.submit(request)));
  await cluster.until(jobs[0]!, ({ tokenCount }) => tokenCount >= 40);
  victim.life.kill();
  erase();
  cluster.start("decode", slow);
  for (const [i, jobId] of jobs.entries()) {
    const expected = await alone(requestOf(requests[i]!));
    expect((await cluster.answer(jobId)).ids, `job ${i}`).toEqual(expected.ids);
    expect(logprobsOf(await cluster.events(jobId)), `job ${i}`).toEqual(expected.logprobs);
  }
});

test("penalties count the answer's tokens: strong enough, no token comes twice", async () => {
  cluster = testCluster();
  cluster.start("prefill");
  cluster.start("decode");
  const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };
  const plain = {
    prompt: { ids: promptIds(50) },
    maxTokens: 300,
    stopIds: [],
    sampling: { ...sampling, bias: { ids: [3], values: [100] } },
  };
  expect(new Set((await cluster.answer(await cluster.submit(plain))).ids)).toEqual(new Set([3]));
  const penal = { ...plain, sampling: { ...sampling, presencePenalty: 100 } };
  const { ids } = await cluster.answer(await cluster.submit(penal));
  expect(new Set(ids).size).toBe(300);
});
