import { describe, expect, test } from "vitest";
import { availablePaths, goldenFolder } from "../support/timeline.ts";
import { runCheckpointGolden } from "./suites/checkpoint.ts";
import { runQuantGolden } from "./suites/quant.ts";
import type { SuiteResult } from "./suites/result.ts";

/** Twins of the vector paths in plain C++: minutes for t2, and the contract suite compares their bits. `npm run golden` runs them too. */
const slowPaths = ["portable", "portablebf16"];

const holds = (results: readonly SuiteResult[]) => {
  expect(results.flatMap(({ suite, failures }) => failures.map((failure) => `${suite}: ${failure}`))).toEqual([]);
  expect(results.every(({ compared }) => compared > 0)).toBe(true);
};

describe.each(availablePaths())("kernel path %s", (kernelPath) => {
  test("quant", () => holds(runQuantGolden(goldenFolder("quant"), kernelPath)));

  test.each(["exact", "serving"] as const)("t1 %s", (mode) => holds(runCheckpointGolden(goldenFolder("t1"), { kernelPath, mode })));

  if (slowPaths.includes(kernelPath)) return;
  const modes = kernelPath === "reference" ? (["exact"] as const) : (["exact", "serving"] as const);
  test.each(modes)("t2 %s", { timeout: 240_000 }, (mode) => holds(runCheckpointGolden(goldenFolder("t2"), { kernelPath, mode })));
});
