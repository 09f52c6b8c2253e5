import { join } from "node:path";
import { ServingError } from "../../runtime/errors.ts";
import type { ModelConfig } from "../model-config.ts";
import { parseModelConfig } from "./config.ts";
import { readShards, type ShardSet } from "./files.ts";
import { type Totals, totals } from "./inventory.ts";
import { readJson } from "./json-files.ts";
import { type Matching, matching } from "./matching.ts";
import { type MemoryPresent, memoryPresent } from "./memory.ts";
import { dsparkWeights, modelWeights } from "./names.ts";
import type { Shard } from "./safetensors.ts";
import type { CheckpointWarning } from "./warnings.ts";
import type { ModelWeights } from "./weights.ts";

/** A checkpoint whose headers were read and found to hold the model. No weight has been touched yet. */
export interface Checkpoint {
  readonly dir: string;
  readonly config: ModelConfig;
  /** TensorRef.shard is an index into this list. */
  readonly shards: readonly Shard[];
  readonly weights: ModelWeights;
  /** Everything the shards hold. */
  readonly stored: Totals;
  /** What `weights` refers to: a process that serves the model maps it. */
  readonly mapped: Totals;
  readonly warnings: readonly CheckpointWarning[];
}

/**
 * Opens a folder with config.json and safetensors, sharded or not. Reads headers only, and blocks meanwhile: seconds
 * for the 145,116 tensors of V4-Pro. Throws BAD_CHECKPOINT listing what is damaged, missing or of another shape;
 * superfluous tensors are a warning.
 */
export function openCheckpoint(dir: string, present: MemoryPresent = memoryPresent()): Checkpoint {
  const path = join(dir, "config.json");
  const config = parseModelConfig(readJson(path), path);
  const problems: string[] = [];
  const { shards, tensors } = readShards(dir, problems);
  refuse(dir, problems);

  const model = matching(tensors);
  const drafts = matching(tensors);
  const drafting = [...tensors.keys()].some((name) => name.startsWith("mtp."));
  const weights = modelWeights(config, model, config.mtpLayers > 0 && drafting);
  if (config.dspark !== null && drafting) dsparkWeights(config, config.dspark, drafts);
  refuse(dir, [...contradictions(config, weights), ...matchProblems(model, tensors), ...matchProblems(drafts, tensors)]);

  const mapped = totals(model.used.values());
  const warnings = warningsOf(config, { model, drafts, drafting, tensors, needed: mapped.bytes, present });
  return { dir, config, shards, weights, stored: totals(tensors.values()), mapped, warnings };
}

const PROBLEMS_SHOWN = 20;

function refuse(dir: string, problems: readonly string[]): void {
  if (problems.length === 0) return;
  const shown = problems.slice(0, PROBLEMS_SHOWN).map((problem) => `\n  ${problem}`);
  const rest = problems.length > PROBLEMS_SHOWN ? `\n  and ${problems.length - PROBLEMS_SHOWN} more` : "";
  throw new ServingError(
    "BAD_CHECKPOINT",
    `${dir} cannot be served, ${problems.length} ${problems.length === 1 ? "problem" : "problems"}:${shown.join("")}${rest}`,
  );
}

function matchProblems({ missing, misshaped }: Matching, tensors: ShardSet["tensors"]): string[] {
  const foreign = missing.includes("embed.weight") && tensors.has("model.embed_tokens.weight");
  if (foreign)
    return [
      "the tensors carry the names of transformers: convert them back to those of the release (embed.weight, layers.0.attn.wq_a.weight, ...)",
    ];
  return [...misshaped, ...missing.map((name) => `${name}: missing`)];
}

/** KV is quantised because the model was trained so; a config that hides it would serve another model. */
function contradictions({ quantised }: ModelConfig, { layers }: ModelWeights): string[] {
  const { dtype, name } = layers[0]!.attn.wkv.weight;
  return dtype === "F8_E4M3" && !quantised ? [`config.json has no quantization_config, but ${name} is ${dtype}`] : [];
}

function warningsOf(
  config: ModelConfig,
  found: {
    readonly model: Matching;
    readonly drafts: Matching;
    readonly drafting: boolean;
    readonly tensors: ShardSet["tensors"];
    readonly needed: number;
    readonly present: MemoryPresent;
  },
): readonly CheckpointWarning[] {
  const { model, drafts, drafting, tensors, needed, present } = found;
  const warnings: CheckpointWarning[] = [];
  const unused = [...tensors.keys()].filter((name) => !model.used.has(name) && !drafts.used.has(name));
  if (needed > present.bytes) warnings.push({ kind: "memory", neededBytes: needed, present });
  if (unused.length > 0) warnings.push({ kind: "unused", tensors: unused });
  if (config.mtpLayers > 0 && !drafting) warnings.push({ kind: "mtp-absent" });
  if (drafts.used.size > 0) warnings.push({ kind: "dspark", held: totals(drafts.used.values()) });
  return warnings;
}
