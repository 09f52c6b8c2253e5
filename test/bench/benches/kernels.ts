import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { listPaths } from "../../../services/shared/engine/kernels.ts";
import { packageRoot } from "../../../services/shared/runtime/package-root.ts";
import { type Bench, notRun, type Row, repeated } from "../bench.ts";
import { type Measured, parseKernels } from "../kernel-table.ts";

const TIMEOUT_MS = 170_000;

/** What must be reached of the matrix peak, or of reading mapped memory, at the shapes of V4-Flash. The first that fits a line's name. */
const goals: readonly (readonly [RegExp, number])[] = [
  [/^decode linear (bf16|e4m3) 1 x/, 0.85],
  [/^decode (linear e2m1 1 x|experts)/, 0.75],
  [/^linear flash bf16 512 /, 0.7],
  [/^linear flash e4m3 512 /, 0.6],
  [/^linear flash e2m1 512 /, 0.55],
  [/^experts flash 192 rows/, 0.4],
  [/^attention flash selected 128 /, 0.4],
  [/^attention flash dense 128 /, 0.5],
  [/^select (flash|yardlog) \d{3,} x/, 0.45],
];

/** kernels/bench/bench.cc on the best path of this machine, all cores: each line beside the limit that the program measures in the same run. */
export const kernels: Bench = {
  name: "kernels",
  about: "operations at the shapes of V4-Flash and of the demonstration model, beside matrix peak and memory",
  seconds: 360,
  async run(scene) {
    const program = join(packageRoot(), "build", "kernels", "longshore_bench");
    if (!existsSync(program)) return scene.report(notRun("kernels", `${program} is not built: run \`npm run bench\``));
    const path = listPaths().findLast(({ available }) => available)!.name;
    const library = join(packageRoot(), "build", "kernels", "liblongshore_cpu.so");
    const args = [library, path, String(scene.machine.cores), scene.tiny ? "rope " : ""];
    const runs = await repeated(scene, `kernels on ${path}`, async () =>
      parseKernels((await promisify(execFile)(program, args, { timeout: TIMEOUT_MS })).stdout),
    );
    for (const { name } of runs[0]!)
      scene.report(
        kernelsRow(
          path,
          runs.map((run) => run.find((line) => line.name === name)!),
        ),
      );
  },
};

/** One line of the program's table in all its runs. */
export function kernelsRow(path: string, samples: readonly Measured[]): Row {
  const { name, limit } = samples[0]!;
  const goal = goals.find(([pattern]) => pattern.test(name))?.[1];
  return {
    key: `kernels.${path}.${name.replace(/[^A-Za-z0-9]+/g, "-")}`,
    unit: limit === "peak" ? "OP/s" : "B/s",
    figures: samples.map(({ rate }) => rate),
    yardstick: { name: limit === "peak" ? "matrix peak" : "mapped read", figures: samples.map(({ rate, share }) => rate / share) },
    ratios: samples.map(({ share }) => share),
    ...(goal === undefined ? {} : { goal: { atLeast: goal } }),
  };
}
