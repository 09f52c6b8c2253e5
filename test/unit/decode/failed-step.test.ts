import { afterEach, beforeEach, expect, test } from "vitest";
import type { Engine, SequenceId, StepInput, StepResult } from "../../../services/shared/engine/engine.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { alone } from "../../support/alone.ts";
import { promptIds } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let clock: VirtualClock;
let cluster: TestCluster;
beforeEach(() => {
  clock = new VirtualClock();
});
afterEach(() => cluster.close());

const POISON = 13n;

/** An engine with another `step`, which adds to `broken` what it broke: as with the native one, that can only be closed. */
const stepping = (engine: Engine, step: (batch: readonly StepInput[], broken: Set<SequenceId>) => Promise<StepResult[]>): Engine => {
  const broken = new Set<SequenceId>();
  return overriding(engine, {
    step: (batch) => step(batch, broken),
    boundary: async (sequence) => {
      if (broken.has(sequence)) throw new ServingError("INVALID_REQUEST", "this sequence can only be closed");
      return await engine.boundary(sequence);
    },
  });
};

/** Fails whole steps for which `fails` says so. */
const failing = (fails: (seeds: readonly bigint[]) => ServingError | null) => (engine: Engine) =>
  stepping(engine, async (batch, broken) => {
    const failure = fails(batch.map(({ sample }) => sample.seed));
    if (failure === null) return await engine.step(batch);
    for (const { sequence } of batch) broken.add(sequence);
    throw failure;
  });

const request = (seed: bigint) => ({
  prompt: { ids: promptIds(60) },
  sampling: { ...requestOf({}).sampling, seed },
  stopIds: [],
  maxTokens: 30,
});

test("a step that failed is tried again, and the answer is what it would have been", async () => {
  let steps = 0;
  const engineOf = failing(() => (++steps === 7 ? new ServingError("INTERNAL", "a bad moment") : null));
  cluster = testCluster({ clock });
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
  cluster = testCluster({ clock, attemptsMax: 3 });
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

test("a sequence that fails alone in a step costs its neighbours nothing", async () => {
  const engineOf = (engine: Engine) =>
    stepping(engine, async (batch, broken) => {
      const results = await engine.step(batch);
      return batch.map(({ sequence, sample }, i) => {
        if (sample.seed !== POISON) return results[i]!;
        broken.add(sequence);
        return { failed: new ServingError("INTERNAL", "logit 0 is NaN") };
      });
    });
  cluster = testCluster({ clock, attemptsMax: 3 });
  cluster.start("prefill");
  cluster.start("decode", { engineOf, engine: { stepMs: 10 } });
  const bad = await cluster.submit(request(POISON));
  const good = await Promise.all([1n, 2n, 3n].map((seed) => cluster.submit(request(seed))));
  for (const [i, jobId] of good.entries()) {
    expect((await cluster.answer(jobId)).ids).toEqual((await alone(requestOf(request(BigInt(i + 1))))).ids);
    expect((await cluster.events(jobId)).at(-1)).toMatchObject({ epoch: 2 }); // one claim of each kind
  }
  expect((await cluster.answer(bad)).end).toMatchObject({ type: "failed", message: expect.stringContaining("logit 0 is NaN") });
});
