import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { listPaths, type PathInfo } from "../../services/shared/engine/kernels.ts";
import { nativeOf } from "../support/kernels/orders.ts";
import { told } from "../support/told.ts";
import { runChatGolden } from "./suites/chat.ts";
import { runCheckpointGolden } from "./suites/checkpoint.ts";
import { runQuantGolden } from "./suites/quant.ts";
import type { SuiteResult } from "./suites/result.ts";
import { runTokenizerGolden } from "./suites/tokenizer.ts";

const USAGE = `npm run golden -- [DIR] [--twins]

Every golden folder under DIR (test/golden/data), in both modes, on every kernel path this machine has; software twins of those only with --twins.
One line a suite; exits with 0 only if all hold. Formats and tolerances: README.md beside the data.`;

async function main(): Promise<number> {
  const { options, words } = told(USAGE, { twins: false }, 1);
  const root = resolve(words[0] ?? defaultFolder());
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    console.error(`${root} is not a folder: name one with golden data, or none for our own copy`);
    return 2;
  }
  const paths = pathsToRun(options.twins);
  let failed = 0;
  const folders = foldersUnder(root);
  for (const { folder, isLeaf } of folders) {
    const where = relative(root, folder) || basename(root);
    const runs = runsOf(folder, paths);
    if (runs.length === 0 && isLeaf) runs.push(nothingHere);
    for (const { label, run } of runs) {
      for (const result of await attempt(run)) if (!print(`${where} ${label}`, result)) failed++;
    }
  }
  console.log(failed === 0 ? "all suites hold" : `${failed} suites failed`);
  return failed === 0 ? 0 : 1;
}

/** Says of each of the others why not. */
function pathsToRun(twins: boolean): string[] {
  const available = listPaths().flatMap((path) => (path.available ? [path.name] : []));
  const why = ({ name, available: here, reason }: PathInfo): string | null => {
    const native = nativeOf(name, available);
    if (!here) return reason;
    return native === undefined || twins ? null : `${native} gives the same bits and runs (--twins runs both)`;
  };
  return listPaths().flatMap((path) => {
    const reason = why(path);
    if (reason === null) return [path.name];
    console.log(`kernel path ${path.name}: not run, ${reason}`);
    return [];
  });
}

const nothingHere: Runs = { label: "", run: async () => [broken("golden data", "there is nothing to compare")] };

const broken = (suite: string, failure: string): SuiteResult => ({ suite, compared: 0, worst: 1, tolerance: "exact", failures: [failure] });

/** A folder that cannot be read fails alone. */
async function attempt(run: Runs["run"]): Promise<readonly SuiteResult[]> {
  try {
    return await run();
  } catch (error) {
    return [broken("the suites of this folder", error instanceof Error ? error.message : String(error))];
  }
}

interface Runs {
  readonly label: string;
  readonly run: () => Promise<readonly SuiteResult[]>;
}

/** A folder is told by its files. */
function runsOf(folder: string, paths: readonly string[]): Runs[] {
  const has = (file: string) => existsSync(join(folder, file));
  const runs: Runs[] = [];
  if (has("golden.safetensors"))
    for (const kernelPath of paths)
      for (const mode of ["exact", "serving"] as const)
        runs.push({ label: `${kernelPath} ${mode}`, run: async () => runCheckpointGolden(folder, { kernelPath, mode }) });
  if (has("quant.json"))
    for (const kernelPath of paths) runs.push({ label: kernelPath, run: async () => runQuantGolden(folder, kernelPath) });
  if (has("cases.json")) runs.push({ label: "", run: async () => [await runTokenizerGolden(folder)] });
  if (has("chat.json") || has("parse.json")) runs.push({ label: "", run: async () => [await runChatGolden(folder)] });
  return runs;
}

function print(where: string, { suite, compared, worst, tolerance, failures }: SuiteResult): boolean {
  const holds = failures.length === 0 && compared > 0;
  const size = tolerance === "exact" ? `${worst} differ` : `largest difference ${worst.toExponential(2)}, tolerance ${tolerance}`;
  console.log(`${holds ? "ok  " : "FAIL"} ${where.trim()} ${suite}: ${compared} compared, ${size}`);
  for (const failure of failures.slice(0, FAILURES_SHOWN)) console.log(`       ${failure}`);
  if (failures.length > FAILURES_SHOWN) console.log(`       and ${failures.length - FAILURES_SHOWN} more`);
  return holds;
}

const FAILURES_SHOWN = 5;

function foldersUnder(folder: string): { folder: string; isLeaf: boolean }[] {
  const inside = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
  const names = inside.map(({ name }) => name).sort();
  return [{ folder, isLeaf: names.length === 0 }, ...names.flatMap((name) => foldersUnder(join(folder, name)))];
}

/** Data is not compiled: dist/test/golden/run.js finds it in the sources. */
function defaultFolder(): string {
  const beside = fileURLToPath(new URL("./data", import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL("../../../test/golden/data", import.meta.url));
}

process.exitCode = await main();
