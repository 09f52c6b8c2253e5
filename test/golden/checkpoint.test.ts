import { describe, expect, test } from "vitest";
import { isTwin, nativeOf } from "../support/kernels/orders.ts";
import { availablePaths, goldenFolder } from "../support/timeline.ts";
import { runCheckpointGolden } from "./suites/checkpoint.ts";
import { runQuantGolden } from "./suites/quant.ts";
import type { SuiteResult } from "./suites/result.ts";

const holds = (results: readonly SuiteResult[]) => {
  expect(results.flatMap(({ suite, failures }) => failures.map((failure) => `${suite}: ${failure}`))).toEqual([]);
  expect(results.every(({ compared }) => compared > 0)).toBe(true);
};

describe.each(availablePaths())("kernel path %s", (kernelPath) => {
  test("quant", () => holds(runQuantGolden(goldenFolder("quant"), kernelPath)));

  test.each(["exact", "serving"] as const)("t1 %s", (mode) => holds(runCheckpointGolden(goldenFolder("t1"), { kernelPath, mode })));

  if (nativeOf(kernelPath, availablePaths()) !== undefined) return; // minutes for t2; `npm run golden -- --twins` takes them
  // The slow ones show one mode here, and both in t1 and in `npm run golden`.
  const modes =
    kernelPath === "reference" ? (["exact"] as const) : isTwin(kernelPath) ? (["serving"] as const) : (["exact", "serving"] as const);
  test.each(modes)("t2 %s", { timeout: 240_000 }, (mode) => holds(runCheckpointGolden(goldenFolder("t2"), { kernelPath, mode })));
});
