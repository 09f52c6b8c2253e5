import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { callsOpening } from "../shared/engine/chat/dialect.ts";
import type { Release } from "../shared/engine/chat/messages.ts";
import { parseModelConfig } from "../shared/engine/checkpoint/config.ts";
import { parseJson, readJsonIfThere } from "../shared/engine/checkpoint/json-files.ts";
import type { Constraint } from "../shared/engine/grammar/following.ts";
import { Grammars } from "../shared/engine/grammar/grammars.ts";
import { Tokenizer } from "../shared/engine/tokenizer/tokenizer.ts";
import { type Config, servedName } from "../shared/runtime/config.ts";
import { ServingError } from "../shared/runtime/errors.ts";

/** What the API knows of the model it serves: no weights. */
export interface ServedModel {
  readonly name: string;
  readonly release: Release;
  readonly tokenizer: Tokenizer;
  readonly grammars: Grammars;
  /** How an answer begins that calls tools. */
  readonly calls: Required<Pick<Constraint, "instead" | "blank">>;
  readonly contextTokens: number;
  readonly vocabSize: number;
  /** Begins the answer of a chat that does not say whether to think. */
  readonly thinking: boolean;
  /** What generation_config.json recommends for requests that do not say. */
  readonly sampling: { readonly temperature: number; readonly topP: number };
  /** Changes with the weights: `system_fingerprint` of every answer. */
  readonly fingerprint: string;
  readonly createdSeconds: number;
}

interface Generation {
  readonly do_sample?: boolean;
  readonly temperature?: number;
  readonly top_p?: number;
}

/** A schema takes milliseconds, and some seconds of the processor at worst: who is later than this may come again. */
const GRAMMAR_TIMES = { compileMs: 10_000, nextMs: 5_000 };

/** Reads what the API needs of a model folder: configuration and tokenizer, no weights. BAD_CHECKPOINT names the file at fault. */
export async function openServedModel(config: Config): Promise<ServedModel> {
  const folder = resolve(config.modelPath);
  const path = join(folder, "config.json");
  const text = await readFile(path, "utf8").catch((cause) => {
    throw new ServingError("BAD_CHECKPOINT", `${path} cannot be read; LONGSHORE_MODEL_PATH must name a model's folder`, { cause });
  });
  const model = parseModelConfig(parseJson(path, text), path);
  const tokenizer = await Tokenizer.load(folder);
  const generation = readJsonIfThere(join(folder, "generation_config.json")) as Generation;
  return {
    name: servedName(config),
    release: model.release,
    tokenizer,
    grammars: new Grammars(tokenizer.vocabulary(), GRAMMAR_TIMES),
    calls: await callsOf(tokenizer, model.release),
    contextTokens: model.contextTokens,
    vocabSize: tokenizer.vocabSize,
    thinking: config.thinking === "enabled",
    sampling: { temperature: generation.do_sample === false ? 0 : (generation.temperature ?? 1), topP: generation.top_p ?? 1 },
    fingerprint: `fp_${createHash("sha256").update(text).update(config.mode).digest("hex").slice(0, 12)}`,
    createdSeconds: Math.floor((await stat(path)).mtimeMs / 1_000),
  };
}

async function callsOf(tokenizer: Tokenizer, release: Release): Promise<ServedModel["calls"]> {
  const instead = Array.from(await tokenizer.encode(callsOpening(release, null)));
  const text = instead.findIndex((id) => !tokenizer.bytesOf(id).every((byte) => WHITESPACE.has(byte)));
  return { instead, blank: text < 0 ? instead.length : text };
}

/** Of JSON. */
const WHITESPACE = new Set(Buffer.from(" \t\n\r"));

export function requireModel(model: ServedModel, asked: string): void {
  if (asked === model.name) return;
  throw new ServingError(
    "NOT_FOUND",
    `model ${JSON.stringify(asked.slice(0, 100))} is not served here; this cluster serves ${model.name}`,
    { param: "model", apiCode: "model_not_found" },
  );
}
