import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fnv1a, generate } from "../../support/generate.ts";
import { Bench } from "./bench.ts";
import { bf16, e2m1, e4m3, e8m0, type FormatCases, fp4Fake, fp8Fake } from "./quant-formats.ts";
import { hadamard, hyperConnection, type MathCases, rope, sinkhorn, sqrtSoftplus } from "./quant-maths.ts";
import type { SuiteResult } from "./result.ts";

/** Number formats and small maths through the operations of one kernel path. The rules of comparison are those of the folder's README. */
export function runQuantGolden(folder: string, kernelPath: string): SuiteResult[] {
  const golden = JSON.parse(readFileSync(join(folder, "quant.json"), "utf8")) as FormatCases & MathCases & GeneratorCases;
  const bench = new Bench(kernelPath);
  try {
    return [
      e4m3(bench, golden),
      e8m0(bench, golden),
      e2m1(bench, golden),
      bf16(bench, golden),
      fp8Fake(bench, "fp8_fake_64", golden.fp8_fake_64),
      fp8Fake(bench, "fp8_fake_128", golden.fp8_fake_128),
      fp4Fake(bench, golden),
      ...rope(bench, golden),
      sinkhorn(bench, golden),
      hyperConnection(bench, golden),
      sqrtSoftplus(bench, golden),
      hadamard(bench, golden),
      generator(golden),
    ];
  } finally {
    bench.release();
  }
}

interface GeneratorCases {
  readonly fnv1a: readonly { readonly in: string; readonly out: number }[];
  readonly generator: { readonly name: string; readonly scale: number; readonly offset: number; readonly first8: readonly number[] };
}

/** The names-to-weights generator of the tests. */
function generator({ fnv1a: hashes, generator: { name, scale, offset, first8 } }: GeneratorCases): SuiteResult {
  const failures = hashes.filter((hash) => fnv1a(hash.in) !== hash.out).map((hash) => `fnv1a("${hash.in}")`);
  const ours = generate(name, first8.length, scale, offset);
  if (first8.some((value, i) => Math.fround(value) !== ours[i])) failures.push(`the first values of ${name}`);
  return { suite: "generator", compared: hashes.length + first8.length, worst: failures.length, tolerance: "exact", failures };
}
