import fc from "fast-check";
import { expect, test, vi } from "vitest";
import type { Sampling } from "../../../../services/shared/engine/engine.ts";
import { count, Drawer } from "../../../../services/shared/engine/sampling/drawer.ts";
import { logprobs } from "../../../../services/shared/engine/sampling/logprobs.ts";
import { Sampler } from "../../../../services/shared/engine/sampling/sampling.ts";

const greedy: Sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };
const VOCAB = 12;
const anyLogits = fc
  .array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: VOCAB, maxLength: VOCAB })
  .map((values) => Float32Array.from(values));
const anyId = fc.nat(VOCAB - 1);
const anyPenalty = fc.double({ min: -2, max: 2, noNaN: true });

test("bias and penalties change the logits that are drawn from, token by token, and nothing else", () => {
  const cases = {
    logits: anyLogits,
    answer: fc.array(anyId, { maxLength: 30 }),
    told: fc.nat(30),
    bias: fc.uniqueArray(fc.tuple(anyId, fc.double({ min: -100, max: 100, noNaN: true })), { selector: ([id]) => id }),
    presencePenalty: anyPenalty,
    frequencyPenalty: anyPenalty,
    temperature: fc.constantFrom(0, 0.7, 1),
    seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    position: fc.nat(),
  };
  const drawer = new Drawer(VOCAB);
  fc.assert(
    fc.property(fc.record(cases), ({ logits, answer, told, bias, position, ...changes }) => {
      const { presencePenalty, frequencyPenalty } = changes;
      const before = Float32Array.from(logits);
      const sampling = { ...greedy, ...changes, bias: { ids: bias.map(([id]) => id), values: bias.map(([, value]) => value) } };
      const adjusted = logits.map((logit, id) => {
        const biased = Math.fround(logit + (bias.find(([at]) => at === id)?.[1] ?? 0));
        const times = answer.filter((at) => at === id).length;
        return times === 0 ? biased : biased - (presencePenalty + frequencyPenalty * times);
      });
      const expected = new Sampler(VOCAB).sample(adjusted, sampling, position);
      const counts = new Map([[0, 7]]); // of what is no part of the answer that is told
      for (let at = Math.min(told, answer.length); at <= answer.length; at++) {
        const whole = at <= told ? { answer: Int32Array.from(answer.slice(0, at)) } : {};
        count(counts, { token: answer[at - 1] ?? 0, sample: sampling, ...whole });
      }
      expect(drawer.draw(logits, sampling, position, counts)).toEqual({ token: expected });
      expect(logits).toEqual(before);
    }),
  );
});

test("a step looks at one token of the answer, however long it is, and a draw at each different one", () => {
  const counts = new Map<number, number>();
  const sample = { ...greedy, presencePenalty: 1 };
  count(counts, { token: 3, sample, answer: Int32Array.from({ length: 30_000 }, (_, i) => i % 4) });
  const touched = vi.spyOn(counts, "set");
  for (const token of [1, 2, 5]) count(counts, { token, sample });
  expect(touched).toHaveBeenCalledTimes(3);
  expect([...counts]).toEqual([
    [0, 7_500],
    [1, 7_501],
    [2, 7_501],
    [3, 7_500],
    [5, 1],
  ]);
});

test("of the tokens that are allowed one is drawn as if there were no others, at any temperature", () => {
  const cases = {
    logits: anyLogits,
    allowed: fc.uniqueArray(anyId, { minLength: 1 }),
    temperature: fc.constantFrom(0, 0.7, 1, 1e300),
    topP: fc.constantFrom(1, 0.5),
    topK: fc.constantFrom(0, 2),
    position: fc.nat(),
    topLogprobs: fc.constantFrom(undefined, 2),
  };
  const drawer = new Drawer(VOCAB);
  fc.assert(
    fc.property(fc.record(cases), ({ logits, allowed, position, topLogprobs, ...changes }) => {
      const sampling = { ...greedy, ...changes, seed: 9n, ...(topLogprobs && { topLogprobs }) };
      const mask = Uint32Array.of(allowed.reduce((bits, id) => bits | (1 << id), 0));
      const { token, ...drawn } = drawer.draw(logits, sampling, position, undefined, mask);
      const others = [...allowed].sort((a, b) => a - b);
      const scale = new Sampler(VOCAB); // as many tokens as the vocabulary has, so that weights are rounded alike
      const alone = logits.map((logit, id) => (others.includes(id) ? logit : -1e30));
      expect(others).toContain(token);
      if (sampling.temperature < 2) expect(token).toBe(scale.sample(alone, sampling, position));
      expect(drawn).toEqual(topLogprobs === undefined ? {} : { logprobs: logprobs(logits, token, topLogprobs, position) });
    }),
  );
});

test("a logit that is not finite is noticed, allowed or not", () => {
  expect(() => new Drawer(3).draw(Float32Array.of(1, Number.NaN, 2), greedy, 0, undefined, Uint32Array.of(1))).toThrow(
    "logit 1 at position 0",
  );
});

test("a bias of -100 bans and one of 100 forces a token of a usual model", () => {
  const logits = Float32Array.of(10, 20, 30);
  const drawer = new Drawer(3);
  expect(drawer.draw(logits, { ...greedy, bias: { ids: [2], values: [-100] } }, 0).token).toBe(1);
  expect(drawer.draw(logits, { ...greedy, temperature: 1, bias: { ids: [0], values: [100] } }, 0).token).toBe(0);
});

test("log probabilities are the model's own, whatever changed the draw", () => {
  const logits = Float32Array.of(1, 2, 3);
  const sampling = { ...greedy, bias: { ids: [0], values: [100] }, topLogprobs: 2 };
  expect(new Drawer(3).draw(logits, sampling, 0)).toEqual({ token: 0, logprobs: logprobs(logits, 0, 2, 0) });
  expect(new Drawer(3).draw(logits, { ...sampling, topLogprobs: 0 }, 0).logprobs?.top).toEqual([]);
});
