import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../../services/shared/runtime/package-root.ts";
import type { Scene } from "../bench.ts";

/** A limit of the machine: its samples, or why it has none. */
export type Limit = { readonly unit: string; readonly figures: readonly number[] } | { readonly missing: string };

export const limitKeys = [
  "read.anonymous",
  "read.mapped",
  "peak.fma",
  "peak.bf16.avx512",
  "peak.bf16.amx",
  "peak.int8.avx512",
  "peak.int8.amx",
] as const;
export type LimitKey = (typeof limitKeys)[number];

/** Read in rotation: more than the largest caches hold. */
const READ_BYTES = 4_294_967_296;
const TIMEOUT_MS = 120_000;

export const rooflineProgram = (): string => join(packageRoot(), "build", "kernels", "longshore_roofline");

/** Measured by kernels/bench/roofline.cc, all cores together. */
export async function limits(scene: Scene, keys: readonly LimitKey[]): Promise<ReadonlyMap<LimitKey, Limit>> {
  const program = rooflineProgram();
  if (!existsSync(program)) return new Map(keys.map((key) => [key, { missing: `${program} is not built: run \`npm run bench\`` }]));
  const bytes = scene.tiny ? READ_BYTES / 256 : READ_BYTES;
  const args = [String(scene.machine.cores), String(bytes), tmpdir(), ...keys];
  const { stdout } = await promisify(execFile)(program, args, { timeout: TIMEOUT_MS });
  return new Map(stdout.trimEnd().split("\n").map(parseLimit));
}

function parseLimit(line: string): [LimitKey, Limit] {
  const [key, unit, ...rest] = line.split(" ");
  return [key as LimitKey, unit === "-" ? { missing: rest.join(" ") } : { unit: unit!, figures: rest.map(Number) }];
}

/** What the matrix units do at best, in bf16 or wider: the first of these that the machine has. */
const matrixKeys = ["peak.bf16.amx", "peak.bf16.avx512", "peak.fma"] as const;

export async function matrixPeak(scene: Scene): Promise<{ readonly key: LimitKey; readonly figures: readonly number[] } | null> {
  const measured = await limits(scene, matrixKeys);
  for (const key of matrixKeys) {
    const limit = measured.get(key);
    if (limit !== undefined && "figures" in limit) return { key, figures: limit.figures };
  }
  return null;
}
