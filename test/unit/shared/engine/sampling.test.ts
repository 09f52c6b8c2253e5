import fc from "fast-check";
import { expect, test } from "vitest";
import type { Sampling } from "../../../../services/shared/engine/engine.ts";
import { drawBits, philox } from "../../../../services/shared/engine/sampling/draw.ts";
import { logprobs } from "../../../../services/shared/engine/sampling/logprobs.ts";
import { BANNED, Sampler } from "../../../../services/shared/engine/sampling/sampling.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";

const greedy: Sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };

/** The rule of sampling.ts word by word: everything sorted, sums in BigInt. Null where all tokens are banned. */
function slowSample(logits: Float32Array, { temperature, topK, topP, minP, seed }: Sampling, position: number): number | null {
  const best = [...logits.keys()].filter((id) => logits[id] !== BANNED).sort((a, b) => logits[b]! - logits[a]! || a - b);
  if (best.length === 0) return null;
  if (temperature === 0) return best[0]!;
  const scale = 2 ** (53 - Math.ceil(Math.log2(logits.length)));
  const weight = (id: number) => Math.round(scale * Math.exp((logits[id]! - logits[best[0]!]!) / temperature));
  const sum = (ids: number[]) => ids.reduce((total, id) => total + BigInt(weight(id)), 0n);

  let kept = topK > 0 ? best.slice(0, topK) : best;
  if (topP < 1) {
    const enough = topP * Number(sum(kept));
    let count = 1;
    for (let held = weight(kept[0]!); count < kept.length && held < enough; count++) held += weight(kept[count]!);
    kept = kept.slice(0, count);
  }
  kept = kept.filter((id, i) => i === 0 || weight(id) >= minP * scale);

  let left = (drawBits(seed, position) * sum(kept)) >> 64n;
  for (const id of kept.sort((a, b) => a - b)) {
    left -= BigInt(weight(id));
    if (left < 0n) return id;
  }
  throw new Error("unreachable");
}

const logitsOf = (values: fc.Arbitrary<number>) =>
  fc.array(values, { minLength: 1, maxLength: 60 }).map((array) => Float32Array.from(array));
const anyLogits = fc.oneof(
  logitsOf(fc.integer({ min: -4, max: 4 })), // ties everywhere
  logitsOf(fc.float({ min: -30, max: 30, noNaN: true })),
  logitsOf(fc.float({ noNaN: true, noDefaultInfinity: true })),
);
const anySampling: fc.Arbitrary<Sampling> = fc.record({
  temperature: fc.oneof(fc.constantFrom(0, 1, 1e-6, 100), fc.double({ min: 0.05, max: 2, noNaN: true })),
  topP: fc.oneof(fc.constantFrom(1, 0, 0.5, 1 - 2 ** -53), fc.double({ min: 0, max: 1, noNaN: true })),
  topK: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 70 })),
  minP: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true })),
  seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});

test.each([1e-300, 1e-308, Number.MIN_VALUE])("temperature %d, as good as none, draws the best", (temperature) => {
  const logits = Float32Array.of(1, 3, 2.9999998, 3, -1);
  const tokens = [0n, 1n, 2n, 3n, 4n, 5n].map((seed) => new Sampler(5).sample(logits, { ...greedy, temperature, topP: 0.9, seed }, 7));
  expect(tokens.every((token) => token === 1 || token === 3)).toBe(true);
});

test("every draw is that of the rule", () => {
  fc.assert(
    fc.property(anyLogits, anySampling, fc.nat(), (logits, sampling, position) => {
      const draw = () => new Sampler(logits.length).sample(logits, sampling, position);
      const token = slowSample(logits, sampling, position);
      if (token === null) expect(draw).toThrow("no token may be drawn");
      else expect(draw()).toBe(token);
    }),
    { numRuns: 5_000 },
  );
});

test.each([0, 1e-6, 1, 100])("where all tokens are banned none is drawn, at temperature %d", (temperature) => {
  const logits = Float32Array.of(BANNED, BANNED, BANNED);
  expect(() => new Sampler(3).sample(logits, { ...greedy, temperature }, 7)).toThrow("no token may be drawn at position 7");
  logits[1] = -1e30;
  expect(new Sampler(3).sample(logits, { ...greedy, temperature }, 7)).toBe(1);
});

/** Logits as of a language model: few high, a long tail; rounded so that there are ties. */
function largeLogits(seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: 129_280 }, () => Math.round(64 * 0.8 * Math.log(random.u32() / 2 ** 32 + 1e-7)) / -64);
}

test("at the vocabulary of the released models, too", () => {
  const sampler = new Sampler(129_280);
  for (const [i, filters] of [
    {},
    { topP: 0.95 },
    { topK: 50 },
    { minP: 0.05 },
    { topK: 1_000, topP: 0.9, minP: 0.01 },
    { topP: 0.9999 },
  ].entries()) {
    const logits = largeLogits(i);
    const sampling = { ...greedy, temperature: 1, seed: 77n, ...filters };
    expect(sampler.sample(logits, sampling, 1_000 + i)).toBe(slowSample(logits, sampling, 1_000 + i));
  }
});

test("a draw depends on seed and position alone, not on what the sampler did before", () => {
  const logits = largeLogits(1)
    .slice(0, 500)
    .map((logit) => logit / 2);
  const sampling = { ...greedy, temperature: 1, topP: 0.9, seed: 5n };
  const sampler = new Sampler(500);
  const forwards = Array.from({ length: 50 }, (_, position) => sampler.sample(logits, sampling, position));
  const backwards = Array.from({ length: 50 }, (_, i) => sampler.sample(logits, sampling, 49 - i)).reverse();
  expect(backwards).toEqual(forwards);
  expect(new Set(forwards).size).toBeGreaterThan(5);
});

test("tokens are drawn as often as they are likely", () => {
  const shares = [0.5, 0.25, 0.2, 0.05];
  const logits = Float32Array.from(shares, Math.log);
  const sampler = new Sampler(4);
  const counts = [0, 0, 0, 0];
  const draws = 40_000;
  for (let position = 0; position < draws; position++)
    counts[sampler.sample(logits, { ...greedy, temperature: 1, seed: 2_026n }, position)]!++;
  const chiSquare = shares.reduce((sum, share, i) => sum + (counts[i]! - draws * share) ** 2 / (draws * share), 0);
  expect(chiSquare).toBeLessThan(16.3); // 3 degrees of freedom: 0.1 %; the seed is fixed
});

test("of equal tokens the lowest id is the best", () => {
  const logits = Float32Array.of(1, 3, 3, -0, 3);
  const sampler = new Sampler(5);
  expect(sampler.sample(logits, greedy, 0)).toBe(1);
  for (let position = 0; position < 50; position++) {
    expect(sampler.sample(logits, { ...greedy, temperature: 1, topK: 1, seed: 9n }, position)).toBe(1);
    expect([1, 2]).toContain(sampler.sample(logits, { ...greedy, temperature: 1, topK: 2, seed: 9n }, position));
  }
});

test("a logit that is not finite is an error with its place, never a token", () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const logits = Float32Array.of(0, 1, bad, 2);
    const error = expect.objectContaining({ code: "INTERNAL", message: expect.stringContaining("logit 2 at position 7") });
    expect(() => new Sampler(4).sample(logits, greedy, 7)).toThrow(error);
    expect(() => logprobs(logits, 0, 2, 7)).toThrow(error);
  }
  expect(() => new Sampler(4).sample(new Float32Array(3), greedy, 7)).toThrow(expect.objectContaining({ code: "INTERNAL" }));
});

test("Philox gives the numbers of its authors", () => {
  const hex = (block: readonly number[]) => block.map((word) => word.toString(16).padStart(8, "0")).join(" ");
  // Random123 kat_vectors, philox4x32 10
  expect(hex(philox([0, 0, 0, 0], [0, 0]))).toBe("6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  const ones = 0xffffffff;
  expect(hex(philox([ones, ones, ones, ones], [ones, ones]))).toBe("408f276d 41c83b0e a20bc7c6 6d5451fd");
  expect(hex(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]))).toBe(
    "d16cfe09 94fdcceb 5001e420 24126ea1",
  );
});

test("the draw of a seed and a position is fixed for good", () => {
  expect(drawBits(0n, 0).toString(16)).toBe("e169c58d6627e8d5");
  expect(drawBits(1n, 0)).not.toBe(drawBits(1n << 32n, 0));
  expect(drawBits(1n, 1)).not.toBe(drawBits(1n, 2 ** 32 + 1));
});

test("log probabilities are those of the whole softmax, best first", () => {
  fc.assert(
    fc.property(anyLogits, fc.nat(25), fc.nat(), (logits, top, pick) => {
      const chosen = pick % logits.length;
      const max = Math.max(...logits);
      const norm = Math.log([...logits].map((logit) => Math.exp(logit - max)).reduce((a, b) => a + b)) + max;
      const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, Math.min(top, 20));
      const result = logprobs(logits, chosen, top, 0);
      expect(result.top.map(({ id }) => id)).toEqual(order);
      expect(result.logprob).toBeCloseTo(logits[chosen]! - norm, 9);
    }),
  );
});
