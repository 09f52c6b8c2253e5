import { afterAll, afterEach, describe, expect, test } from "vitest";
import { type Backend, listPaths, liveHandles, openBackend, operationNames } from "../../services/shared/engine/kernels.ts";
import { type Case, difference, runCase, sameBytes } from "../support/kernels/case.ts";
import { cases } from "../support/kernels/cases/cases.ts";
import { orders } from "../support/kernels/orders.ts";
import { releaseAll } from "../support/kernels/owned.ts";
import { cuts, Draw } from "../support/kernels/random.ts";

const ROUNDS = 25;
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const here = listPaths().filter((path) => path.available);
const reference = openBackend({ path: "reference", threads: 1 });

for (const path of listPaths()) if (!path.available) console.info(`not run on this machine: path ${path.name} (${path.reason})`);
test("every path is built: what `npm run demo` leaves out is not passed over", () => {
  expect(listPaths().filter(({ reason }) => reason.startsWith("it was not built"))).toEqual([]);
});

afterEach(releaseAll);
afterAll(() => reference.close());

describe.each(here)("path $name", ({ name }) => {
  const backends = [1, 2, 3].map((threads) => openBackend({ path: name, threads }));
  afterAll(() => {
    for (const backend of backends) backend.close();
  });

  test.each(operationNames)("%s: near the reference, and the same bits for any cut and any number of threads", (operation) => {
    const before = liveHandles();
    for (let round = 0; round < ROUNDS; round++) {
      const draw = new Draw(seed + round);
      check(cases[operation](draw), draw, backends);
      releaseAll();
    }
    expect(liveHandles()).toBe(before);
  });
});

/** One source compiled for several instruction sets: their results are not only near each other. */
const sameBits = orders.map((names) => names.filter((name) => here.some((path) => path.name === name)));

test.each(sameBits.flatMap((paths) => operationNames.map((operation) => ({ operation, paths }))))(
  "$operation: the same bits on $paths",
  ({ operation, paths }) => {
    const backends = paths.map((path) => openBackend({ path, threads: 1 }));
    for (let round = 0; round < ROUNDS; round++) {
      const draw = new Draw(seed + round);
      const c = cases[operation](draw);
      const [first, ...others] = backends.map((backend) => runCase(backend, c, [[0, c.rows]]));
      for (const outputs of others)
        for (const [i, output] of outputs.entries())
          expect(sameBytes(output, first![i]!), `SEED=${draw.seed} ${c.label}, output ${i}`).toBeNull();
      releaseAll();
    }
    for (const backend of backends) backend.close();
  },
);

function check(c: Case, draw: Draw, backends: readonly Backend[]): void {
  const whole = [[0, c.rows]] as const;
  const alone = Array.from({ length: c.rows }, (_, row) => [row, row + 1] as const);
  const where = (what: string, output: number) => `SEED=${draw.seed} ${c.operation} ${c.label}, output ${output}: ${what}`;

  const expected = runCase(reference, c, whole);
  const actual = runCase(backends[0]!, c, whole);
  for (const [i, output] of actual.entries()) {
    const compare = c.compare?.[i] ?? ((a, e) => difference(backends[0]!.tolerance(c.operation, i), a, e));
    expect(compare(output, expected[i]!, expected), where("differs from the reference", i)).toBeNull();
  }
  const others = [
    ["cut", runCase(backends[0]!, c, cuts(draw, c.rows))],
    ["row by row", runCase(backends[0]!, c, alone)],
    ["two threads", runCase(backends[1]!, c, whole)],
    ["three threads, cut", runCase(backends[2]!, c, cuts(draw, c.rows))],
  ] as const;
  for (const [what, outputs] of others)
    for (const [i, output] of outputs.entries()) expect(sameBytes(output, actual[i]!), where(`${what} changes bits`, i)).toBeNull();
}
