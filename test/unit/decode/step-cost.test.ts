import { expect, test } from "vitest";
import { worthwhile } from "../../../services/decode/fit-drafts.ts";
import { StepCost } from "../../../services/decode/step-cost.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { Dice } from "../../support/dice.ts";
import { testSeed } from "../../support/seed.ts";

const DRAFT = 7;
const STEPS = 8_000;

/** What a step of so many tokens takes. */
const curves: Record<string, (tokens: number) => number> = {
  "a line": (tokens) => 11 + 7 * tokens,
  "as V4-Flash": (tokens) => [18.2, 24.5, 31.5, 38.5, 46, 54, 62, 69.6][tokens - 1]!,
  "a jump behind one": (tokens) => (tokens === 1 ? 10 : 16 + tokens),
  "plateaus, one much above the other": (tokens) => (tokens <= 4 ? 10 : 30),
  "stairs of two": (tokens) => 10 + 9 * Math.floor((tokens - 1) / 2) + tokens / 10,
  "nothing for a token more": () => 10,
  "each token as much": (tokens) => 10 * tokens,
};
const machines: Record<string, { noise: number; level: (i: number) => number }> = {
  quiet: { noise: 0, level: () => 1 },
  "noise of 30 %": { noise: 0.3, level: () => 1 },
  "a neighbour comes": { noise: 0.3, level: (i) => (i < STEPS / 2 ? 1 : 1.6) },
  "a neighbour leaves": { noise: 0.3, level: (i) => (i < STEPS / 2 ? 1.6 : 1) },
};

test.for(
  Object.entries(curves).flatMap(([curve, costOf]) => Object.entries(machines).map((machine) => [curve, ...machine, costOf] as const)),
)("drafts bring about as much as the best fixed length of them, and no less than none: %s, %s", ([, , { noise, level }, costOf]) => {
  const dice = new Dice(seededRandom(testSeed()));
  const shares: number[] = [];
  for (const chance of [0.3, 0.6, 0.8, 0.95]) {
    for (const often of [1, 0.5]) {
      // Behind a step with a draft of so many ids, and `often` there is one.
      const tokens = (length: number) => (1 - chance ** (length + 1)) / (1 - chance);
      const rate = (length: number) => (often * tokens(length) + 1 - often) / (often * costOf(1 + length) + (1 - often) * costOf(1));
      const cost = new StepCost();
      let [all, time] = [0, 0];
      for (let i = 0; i < STEPS; i++) {
        const draft = dice.chance(often) ? { ids: new Int32Array(DRAFT), chance } : null;
        const [length] = worthwhile([draft], cost, 32);
        all += tokens(length!);
        time += costOf(1 + length!);
        cost.learn(1 + length!, costOf(1 + length!) * level(i) * (1 + noise * spread(dice)));
      }
      const rates = Array.from({ length: DRAFT + 1 }, (_, length) => rate(length));
      const reached = `chance ${chance}, ${often} of the steps`;
      shares.push(all / time / Math.max(...rates));
      expect(shares.at(-1), reached).toBeGreaterThan(0.88);
      expect(all / time / rates[0]!, `${reached}, of none`).toBeGreaterThan(0.88);
    }
  }
  expect(shares.reduce((sum, share) => sum + share) / shares.length).toBeGreaterThan(0.95);
});

/** Of mean 0 and variance 1. */
const spread = (dice: Dice) => Math.sqrt(12) * (dice.upTo(1) - 0.5);

test("a step that waited for somebody else changes little", () => {
  const cost = new StepCost();
  for (let i = 0; i < 400; i++) cost.learn(1 + (i % 8), i === 350 ? 90_000 : 11 + 7 * (1 + (i % 8)));
  for (const tokens of [1, 4, 8]) expect(cost.of(tokens) / (11 + 7 * tokens)).toBeCloseTo(1, 0);
});

test.for([2_000, 60_000])("a first step that waited %i ms for weights is soon forgotten", (waited) => {
  const cost = new StepCost();
  const costOf = curves["a jump behind one"]!;
  let longest = 0;
  for (let i = 0; i < 200; i++) {
    const [length] = worthwhile([{ ids: new Int32Array(DRAFT), chance: 0.95 }], cost, 32);
    if (i >= 100) longest += Number(length === DRAFT);
    cost.learn(1 + length!, costOf(1 + length!) + (i === 0 ? waited : 0));
  }
  expect(cost.of(1) / costOf(1)).toBeLessThan(1.1);
  expect(longest).toBeGreaterThan(80);
});

test("steps of which a clock says nothing at first are measured later", () => {
  const cost = new StepCost();
  cost.learn(1, 0);
  for (let i = 0; i < 400; i++) cost.learn(1 + (i % 4), 10 + 5 * (i % 4));
  for (const tokens of [1, 2, 3, 4]) expect(cost.of(tokens) / (5 + 5 * tokens)).toBeCloseTo(1, 1);
});

test("what no step tells is guessed between a share of what more tokens take and what fewer take; what was measured is doubted after a while", () => {
  const cost = new StepCost();
  expect(cost.of(5)).toBe(0);
  for (let i = 0; i < 400; i++) cost.learn(i % 2 === 0 ? 2 : 8, i % 2 === 0 ? 10 : 80);
  for (const [tokens, guess] of [
    [1, 5],
    [2, 10 + 0.3],
    [4, 40],
    [8, 80],
    [9, 80],
  ] as const)
    expect(cost.of(tokens) / guess).toBeCloseTo(1, 1);
  for (let i = 0; i < 200; i++) cost.learn(2, 10);
  expect(cost.of(8)).toBeGreaterThan(70);
  for (let i = 0; i < 1_000; i++) cost.learn(2, 10);
  expect(cost.of(8)).toBeLessThan(11);
});
