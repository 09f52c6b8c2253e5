import fc from "fast-check";
import { expect, test } from "vitest";
import { fitDrafts } from "../../../services/decode/fit-drafts.ts";
import { PromptLookup } from "../../../services/decode/prompt-lookup.ts";
import { StepCost } from "../../../services/decode/step-cost.ts";
import type { Engine, Sampling, SequenceId, StepInput, StepResult } from "../../../services/shared/engine/engine.ts";
import { alone } from "../../support/alone.ts";
import { EOS, promptIds, SEGMENT } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { testSeed } from "../../support/seed.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { requestOf, testCluster } from "../../support/workers.ts";

/** Looks at every step that an engine has done. */
const watched = (seen: (batch: readonly StepInput[], results: readonly StepResult[]) => void) => (engine: Engine) =>
  overriding(engine, {
    step: async (batch) => {
      const results = await engine.step(batch);
      seen(batch, results);
      return results;
    },
  });

test("a draft is what followed where the last three ids stood last, and follows on from there as long as it is right", () => {
  const lookup = new PromptLookup();
  const text = [9, 1, 2, 3, 4, 5, 6, 1, 2, 3, 7, 8, 20, 21, 1, 2];
  const drafts = (next: number, max = 4) => [...lookup.draft(Int32Array.from(text), next, max).ids];
  expect(drafts(3)).toEqual([7, 8, 20, 21]); // the last time
  text.push(3, 7);
  expect(drafts(8)).toEqual([20, 21, 1, 2]); // two of them came
  text.push(8);
  expect(drafts(5)).toEqual([]); // 7, 8, 5 is new
  text.push(5);
  expect(drafts(6)).toEqual([]);
  text.push(6, 3, 4);
  expect(drafts(5, 2)).toEqual([6, 1]);
  expect(drafts(5, 0)).toEqual([]);
});

test("whatever the text, a draft has followed the same three ids in it, and what its places are worth is learnt", () => {
  const texts = fc.array(fc.nat(5), { minLength: 1, maxLength: 400 });
  fc.assert(
    fc.property(texts, fc.nat(9), (text, max) => {
      const lookup = new PromptLookup();
      for (let n = 0; n < text.length - 1; n++) {
        const { ids: draft, chance } = lookup.draft(Int32Array.from(text.slice(0, n)), text[n]!, max);
        expect(chance).toBeGreaterThan(0);
        expect(chance).toBeLessThan(1);
        expect(draft.length).toBeLessThanOrEqual(max);
        if (draft.length === 0) continue;
        const wanted = [text[n], ...draft].join();
        const places = text
          .slice(0, n)
          .flatMap((id, at) => (id === text[n] ? [text.slice(at, Math.min(n, at + 1 + draft.length)).join()] : []));
        expect(places).toContain(wanted);
      }
    }),
    { seed: testSeed() },
  );
});

test("what repeats itself is trusted more and more, what never comes again less and less, also while no draft is run", () => {
  const chanceBehind = (text: number[]) => {
    const lookup = new PromptLookup();
    let chance = 0;
    for (let n = 3; n < text.length; n++) ({ chance } = lookup.draft(Int32Array.from(text.slice(0, n)), text[n]!, 4));
    return chance;
  };
  const verse = Array.from({ length: 300 }, (_, i) => i % 30);
  expect(chanceBehind(verse)).toBeGreaterThan(0.95);
  const broken = Array.from({ length: 300 }, (_, i) => (i % 4 === 3 ? 100 + i : i % 4)); // the same three, and never what came behind them
  expect(chanceBehind(broken)).toBeLessThan(0.1);
});

test("a text of a million ids is looked through some at a time", () => {
  const text = Int32Array.from({ length: 1_000_000 }, (_, i) => (i < 999_998 ? i : i - 99_998));
  const lookup = new PromptLookup();
  const drafts = Array.from({ length: 15 }, () => [...lookup.draft(text, 900_002, 2).ids]);
  expect(drafts).toEqual([...Array(13).fill([]), ...Array(2).fill([900_003, 900_004])]); // 65,536 in each call
});

test("beside others a draft makes nobody a fifth slower, however often it is right, unless they come on as well", () => {
  const cost = costing(10, 4);
  const beside = (others: number, draft = offer(0, 7, 0.99)) =>
    lengths(fitDrafts([draft, ...Array.from({ length: others }, (_, i) => ({ ...offer(i + 1, 0, 0.9), draft: null }))], cost, 32))[0]!;
  expect(beside(0)).toBe(7);
  for (const others of [1, 3, 7, 15]) {
    const run = beside(others);
    expect(cost.of(1 + others + run)).toBeLessThanOrEqual(1.2 * cost.of(1 + others));
    expect(run).toBeLessThan(7);
  }
  expect(beside(7)).toBeGreaterThan(0);
  const unknown = new StepCost();
  unknown.learn(2, 10);
  const [tried] = lengths(fitDrafts([offer(0, 7, 0.9), { ...offer(1, 0, 0.9), draft: null }], unknown, 32));
  expect(tried, "what nobody knows is tried").toBe(7);
  expect(lengths(fitDrafts([offer(0, 7, 0.99), offer(1, 7, 0.99)], cost, 32)), "all of them").toEqual([7, 7]);
});

test("a step is told what may be drawn at as many places as it runs", () => {
  const { input, draft } = offer(0, 7, 0.9);
  const [step] = fitDrafts([{ input: { ...input, allowed: Array(8).fill(null) }, draft }], costing(10, 0), 4);
  expect([step!.draft!.length, step!.allowed!.length]).toEqual([3, 4]);
});

const offer = (sequence: number, length: number, chance: number) => ({
  input: { sequence: sequence as SequenceId, token: 1, sample: {} as Sampling },
  draft: { ids: Int32Array.from({ length }, (_, i) => i), chance },
});
const lengths = (steps: ReturnType<typeof fitDrafts>) => steps.map(({ draft }) => draft?.length ?? 0);
const costing = (first: number, more: number) => ({ of: (tokens: number) => first + more * (tokens - 1) });

test("drafts are run as far as they bring more tokens a second: the likelier first, and no more than a step takes", () => {
  const offers = [offer(0, 7, 0.9), offer(1, 7, 0.8), { ...offer(2, 7, 0.9), draft: null }, offer(3, 0, 0.9)];
  expect(lengths(fitDrafts(offers, costing(10, 0), 32))).toEqual([7, 7, 0, 0]); // a token more costs nothing
  expect(lengths(fitDrafts(offers, costing(10, 0), 8))).toEqual([3, 1, 0, 0]);
  expect(lengths(fitDrafts(offers, costing(10, 10), 32))).toEqual([0, 0, 0, 0]); // as much as a step of its own
  // 2 tokens in 14; then 2.9 in 18, 3.71 in 22, 4.51 in 26, 5.24 in 30: 0.1747 a unit. One more of the first, 5.9 in 34, would be 0.1734.
  expect(lengths(fitDrafts(offers.slice(0, 2), costing(10, 4), 32))).toEqual([3, 1]);
  expect(lengths(fitDrafts(offers, costing(10, 4), 32)), "beside two that have none").toEqual([1, 0, 0, 0]); // 26 instead of 22
  const jump = { of: (tokens: number) => (tokens === 1 ? 10 : 16 + tokens) };
  expect(lengths(fitDrafts([offer(0, 7, 0.8)], jump, 32)), "one costs more than it brings, more of them less").toEqual([7]);
});

test.each([0, 0.25])(
  "an answer that repeats itself takes fewer steps and is the same, its end included, frequency penalty %d",
  async (frequencyPenalty) => {
    const clock = new VirtualClock();
    const cluster = testCluster({ clock });
    let steps = 0;
    let longest = 0;
    const counted = watched((batch) => {
      steps++;
      for (const { draft } of batch) longest = Math.max(longest, draft?.length ?? 0);
    });
    cluster.start("prefill");
    cluster.start("decode", { engine: { stepMs: 5 }, engineOf: counted });
    const sampling = { temperature: 1, topP: 1, topK: 3, minP: 0, seed: 77n, ...(frequencyPenalty > 0 && { frequencyPenalty }) };
    for (const [maxTokens, stopIds] of [
      [3 * SEGMENT, []],
      [2_000, [EOS]],
    ] as const) {
      const request = { prompt: { ids: promptIds(300, maxTokens) }, maxTokens, stopIds: [...stopIds], sampling };
      const expected = await alone(requestOf(request));
      steps = 0;
      const jobId = await cluster.submit(request);
      const { ids: answer, end } = await cluster.answer(jobId);
      expect(answer).toEqual(expected.ids);
      expect(end).toMatchObject({ type: "finished", reason: expected.reason, usage: { completionTokens: expected.ids.length } });
      if (frequencyPenalty === 0) expect(steps).toBeLessThan(0.9 * expected.ids.length);
    }
    if (frequencyPenalty === 0) expect(longest).toBeGreaterThan(3);
    await cluster.close();
  },
);

test("no draft where text may end the answer, nor where it is switched off", async () => {
  const clock = new VirtualClock();
  const sampling = { temperature: 1, topP: 1, topK: 2, minP: 0, seed: 5n };
  for (const [stop, draftMax] of [
    [["never"], 7],
    [[], 0],
  ] as const) {
    const cluster = testCluster({ clock });
    let drafts = 0;
    const counted = watched((batch) => {
      drafts += batch.filter(({ draft }) => draft !== undefined).length;
    });
    cluster.start("prefill");
    cluster.start("decode", { engine: { draftMax }, engineOf: counted });
    const request = { maxTokens: 200, stopIds: [], stop: [...stop], sampling };
    expect((await cluster.answer(await cluster.submit(request))).ids).toEqual((await alone(requestOf(request))).ids);
    expect(drafts).toBe(0);
    await cluster.close();
  }
});

test("an answer that is held to a schema is drafted, too, and each of its tokens is one that may stand there", async () => {
  const cluster = testCluster(); // the grammar's thread has a time of its own
  let taken = 0;
  const counted = watched((_, results) => {
    for (const result of results) taken += "failed" in result ? 0 : result.drawn.length - 1;
  });
  cluster.start("prefill");
  cluster.start("decode", { engine: { stepMs: 5 }, engineOf: counted });
  const schema = JSON.stringify({ type: "array", items: { type: "array", items: { const: 7 }, minItems: 3 }, minItems: 40 });
  for (const constraint of [{ schema }, { schema, after: 7 }]) {
    const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 3n };
    const request = { prompt: { ids: promptIds(200) }, maxTokens: 250, constraint, sampling };
    expect((await cluster.answer(await cluster.submit(request))).ids).toEqual((await alone(requestOf(request))).ids);
  }
  expect(taken).toBeGreaterThan(20);
  await cluster.close();
});
