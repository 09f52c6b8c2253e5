import { afterAll, afterEach, describe, expect, test } from "vitest";
import { type Backend, listPaths, liveHandles, openBackend, operationNames } from "../../services/shared/engine/kernels.ts";
import { type Case, difference, type Output, runCase, sameBytes } from "../support/kernels/case.ts";
import { cases } from "../support/kernels/cases/cases.ts";
import { orders } from "../support/kernels/orders.ts";
import { releaseAll } from "../support/kernels/owned.ts";
import { cuts, Draw } from "../support/kernels/random.ts";

const ROUNDS = 25;
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const here = listPaths().filter((path) => path.available);
const backends = new Map(here.map(({ name }) => [name, [1, 2, 3].map((threads) => openBackend({ path: name, threads }))]));

for (const path of listPaths()) if (!path.available) console.info(`not run on this machine: path ${path.name} (${path.reason})`);
test("every path is built: what `npm run demo` leaves out is not passed over", () => {
  expect(listPaths().filter(({ reason }) => reason.startsWith("it was not built"))).toEqual([]);
});

afterEach(releaseAll);
afterAll(() => {
  for (const backend of [...backends.values()].flat()) backend.close();
});

/** One source compiled for several instruction sets: their results are not only near each other. */
const sameBits = orders.map((names) => names.filter((name) => here.some((path) => path.name === name)));

describe.each(operationNames)("%s", (operation) => {
  /** What one thread makes of all rows at once, by path and round: every path is compared with the reference, and paths of one order with each other. */
  const known = new Map<string, readonly Output[]>();
  afterAll(() => known.clear());
  const whole = (path: string, round: number, c: Case): readonly Output[] => {
    const key = `${path} ${round}`;
    const outputs = known.get(key) ?? runCase(backends.get(path)![0]!, c, [[0, c.rows]]);
    known.set(key, outputs);
    return outputs;
  };

  test.each(here)("path $name: near the reference, and the same bits for any cut and any number of threads", ({ name }) => {
    const before = liveHandles();
    for (let round = 0; round < ROUNDS; round++) {
      const draw = new Draw(seed + round);
      const c = cases[operation](draw);
      check(c, draw, whole("reference", round, c), whole(name, round, c), backends.get(name)!);
      releaseAll();
    }
    expect(liveHandles()).toBe(before);
  });

  test.each(sameBits.map((paths) => ({ paths })))("the same bits on $paths", ({ paths }) => {
    for (let round = 0; round < ROUNDS; round++) {
      const draw = new Draw(seed + round);
      const c = cases[operation](draw);
      const [first, ...others] = paths.map((path) => whole(path, round, c));
      for (const outputs of others)
        for (const [i, output] of outputs.entries())
          expect(sameBytes(output, first![i]!), `SEED=${draw.seed} ${c.label}, output ${i}`).toBeNull();
      releaseAll();
    }
  });
});

function check(c: Case, draw: Draw, expected: readonly Output[], actual: readonly Output[], [one, two, three]: readonly Backend[]): void {
  const whole = [[0, c.rows]] as const;
  const alone = Array.from({ length: c.rows }, (_, row) => [row, row + 1] as const);
  const where = (what: string, output: number) => `SEED=${draw.seed} ${c.operation} ${c.label}, output ${output}: ${what}`;

  for (const [i, output] of actual.entries()) {
    const compare = c.compare?.[i] ?? ((a, e) => difference(one!.tolerance(c.operation, i), a, e));
    expect(compare(output, expected[i]!, expected), where("differs from the reference", i)).toBeNull();
  }
  const others = [
    ["cut", runCase(one!, c, cuts(draw, c.rows))],
    ["row by row", runCase(one!, c, alone)],
    ["two threads", runCase(two!, c, whole)],
    ["three threads, cut", runCase(three!, c, cuts(draw, c.rows))],
  ] as const;
  for (const [what, outputs] of others)
    for (const [i, output] of outputs.entries()) expect(sameBytes(output, actual[i]!), where(`${what} changes bits`, i)).toBeNull();
}
