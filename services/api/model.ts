import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { releaseOf } from "../shared/engine/chat/messages.ts";
import { parseModelConfig } from "../shared/engine/model-config.ts";
import { Tokenizer } from "../shared/engine/tokenizer.ts";
import type { Config } from "../shared/runtime/config.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import type { ServedModel } from "./prompt.ts";

/** Reads what the API needs of a model folder: configuration and tokenizer, no weights. BAD_CHECKPOINT names the file at fault. */
export async function openServedModel(config: Config): Promise<ServedModel> {
  const folder = resolve(config.modelPath);
  const path = join(folder, "config.json");
  const text = await readFile(path, "utf8").catch((cause) => {
    throw new ServingError("BAD_CHECKPOINT", `${path} cannot be read; LONGSHORE_MODEL_PATH must name a model's folder`, { cause });
  });
  const json = JSON.parse(text) as Record<string, unknown>;
  const model = parseModelConfig(json);
  const tokenizer = await Tokenizer.load(folder);
  const generation = await readGeneration(join(folder, "generation_config.json"));
  return {
    name: servedName(config),
    release: releaseOf(json),
    tokenizer,
    contextTokens: model.contextTokens,
    vocabSize: tokenizer.vocabSize,
    thinking: config.thinking === "enabled",
    sampling: { temperature: generation.do_sample === false ? 0 : (generation.temperature ?? 1), topP: generation.top_p ?? 1 },
    fingerprint: `fp_${createHash("sha256").update(text).update(config.mode).digest("hex").slice(0, 12)}`,
    createdSeconds: Math.floor((await stat(path)).mtimeMs / 1_000),
  };
}

export const servedName = (config: Config): string => (config.modelName === "" ? basename(resolve(config.modelPath)) : config.modelName);

export function requireModel(model: ServedModel, asked: string): void {
  if (asked === model.name) return;
  throw new ServingError(
    "NOT_FOUND",
    `model ${JSON.stringify(asked.slice(0, 100))} is not served here; this cluster serves ${model.name}`,
    { param: "model", apiCode: "model_not_found" },
  );
}

async function readGeneration(path: string): Promise<{ do_sample?: boolean; temperature?: number; top_p?: number }> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as { do_sample?: boolean; temperature?: number; top_p?: number };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new ServingError("BAD_CHECKPOINT", `${path} is not JSON`, { cause: error });
  }
}
