import { afterEach, expect, test } from "vitest";
import type { Engine, SequenceId } from "../../../services/shared/engine/engine.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { overriding } from "../../support/overriding.ts";
import { alone, promptIds, requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let cluster: TestCluster;
afterEach(() => cluster.close());

const POISON = 13n;

/** An engine that fails steps for which `fails` says so; as with the native one, what took part in them can only be closed. */
const failing = (fails: (seeds: readonly bigint[]) => ServingError | null) => (engine: Engine) => {
  const broken = new Set<SequenceId>();
  return overriding(engine, {
    step: async (batch) => {
      const failure = fails(batch.map(({ sample }) => sample.seed));
      if (failure === null) return await engine.step(batch);
      for (const { sequence } of batch) broken.add(sequence);
      throw failure;
    },
    boundary: async (sequence) => {
      if (broken.has(sequence)) throw new ServingError("INVALID_REQUEST", "this sequence can only be closed");
      return await engine.boundary(sequence);
    },
  });
};

const request = (seed: bigint) => ({
  prompt: { ids: promptIds(60) },
  sampling: { ...requestOf({}).sampling, seed },
  stopIds: [],
  maxTokens: 30,
});

test("a step that failed is tried again, and the answer is what it would have been", async () => {
  let steps = 0;
  const engineOf = failing(() => (++steps === 7 ? new ServingError("INTERNAL", "a bad moment") : null));
  cluster = testCluster();
  cluster.start("prefill");
  const decode = cluster.start("decode", { engineOf });
  const jobId = await cluster.submit(request(1n));
  const { ids, end } = await cluster.answer(jobId);
  expect(end).toMatchObject({ type: "finished" });
  expect(ids).toEqual((await alone(requestOf(request(1n)))).ids);
  await cluster.close();
  expect(decode.engine.held).toEqual({ sequences: 0, memories: 0 });
});

test("a job that no step takes ends by itself, and its neighbours in the batch end well", async () => {
  const engineOf = failing((seeds) => (seeds.includes(POISON) ? new ServingError("INVALID_REQUEST", "not this one") : null));
  cluster = testCluster({ attemptsMax: 3 });
  cluster.start("prefill");
  cluster.start("decode", { engineOf, engine: { stepMs: 10 } });
  const good = await Promise.all([1n, 2n, 3n].map((seed) => cluster.submit(request(seed))));
  await cluster.until(good[2]!, ({ event }) => event.type === "tokens");
  const bad = await cluster.submit(request(POISON));
  for (const [i, jobId] of good.entries()) {
    expect((await cluster.answer(jobId)).ids).toEqual((await alone(requestOf(request(BigInt(i + 1))))).ids);
  }
  expect((await cluster.answer(bad)).end).toMatchObject({ type: "failed" });
});
