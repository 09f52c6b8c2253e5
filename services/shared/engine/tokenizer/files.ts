import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as Native } from "tokenizers";
import { ServingError } from "../../runtime/errors.ts";
import { type Fields, isFields } from "../../runtime/json.ts";
import { readJsonIfThere } from "../checkpoint/json-files.ts";

/** The parts of tokenizer.json that longshore reads itself; the native library reads the rest. */
export interface TokenizerFile {
  readonly model: { readonly type: string; readonly vocab: Readonly<Record<string, number>> };
  readonly added_tokens?: readonly AddedToken[];
  readonly pre_tokenizer?: unknown;
  readonly normalizer?: unknown;
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly rstrip: boolean;
}

/** Ids are read from the file, never assumed. `null`: this vocabulary has no such token. */
export interface SpecialIds {
  readonly bos: number;
  readonly eos: number;
  readonly user: number | null;
  readonly assistant: number | null;
  readonly thinkEnd: number | null;
}

interface TokenizerFiles {
  readonly native: Native;
  readonly file: TokenizerFile;
  readonly ids: SpecialIds;
  readonly stopIds: readonly number[];
}

/**
 * Reads tokenizer.json and, where present, tokenizer_config.json and generation_config.json.
 * Throws BAD_CHECKPOINT naming the file.
 */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const path = join(folder, "tokenizer.json");
  const text = await readFile(path, "utf8").catch((cause) => refuse(path, "cannot be read", cause));
  const { native, file } = parse(path, text);
  const names = readJsonIfThere(join(folder, "tokenizer_config.json"));
  const generation = readJsonIfThere(join(folder, "generation_config.json"));
  const ids = specialIds(path, native, names);
  return { native, file, ids, stopIds: stops(folder, ids, generation, native) };
}

/**
 * Every id is below this: eight times the vocabulary of DeepSeek-V4. Memory and start time grow with the largest id.
 */
const IDS_MAX = 2 ** 20;

const isId = (id: unknown): id is number => Number.isInteger(id) && Number(id) >= 0 && Number(id) < IDS_MAX;

const refuse = (path: string, why: string, cause?: unknown): never => {
  throw new ServingError("BAD_CHECKPOINT", `${path} ${why}`, { cause });
};

function parse(path: string, text: string): { native: Native; file: TokenizerFile } {
  try {
    const file = JSON.parse(text) as TokenizerFile;
    if (file.model?.type !== "BPE" || typeof file.model.vocab !== "object") return refuse(path, "is not a byte-level BPE tokenizer");
    const ids = [...Object.values(file.model.vocab), ...(file.added_tokens ?? []).map(({ id }) => id)];
    const wrong = ids.findIndex((id) => !isId(id));
    if (wrong >= 0) return refuse(path, `has a token with the id ${ids[wrong]}, which must be a whole number below ${IDS_MAX}`);
    return { native: Native.fromString(text), file };
  } catch (error) {
    if (error instanceof ServingError) throw error;
    return refuse(path, `is damaged: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

function specialIds(path: string, native: Native, names: Fields): SpecialIds {
  const need = (token: string) => native.tokenToId(token) ?? refuse(path, `has no token ${token}`);
  return {
    bos: need(tokenName(names.bos_token) ?? "<｜begin▁of▁sentence｜>"),
    eos: need(tokenName(names.eos_token) ?? "<｜end▁of▁sentence｜>"),
    user: native.tokenToId("<｜User｜>"),
    assistant: native.tokenToId("<｜Assistant｜>"),
    thinkEnd: native.tokenToId("</think>"),
  };
}

/** tokenizer_config.json writes a token as its text or as `{ content }`. */
const tokenName = (field: unknown): string | null => {
  const name = isFields(field) ? field.content : field;
  return typeof name === "string" ? name : null;
};

/** Checks the ids itself: the library would take 1.5 for 1, and 2^32 for 0. */
function stops(folder: string, ids: SpecialIds, generation: Fields, native: Native): number[] {
  const stopIds = new Set([ids.eos]);
  for (const id of [generation.eos_token_id ?? []].flat()) {
    if (!isId(id) || native.idToToken(id) === null)
      return refuse(join(folder, "generation_config.json"), `names the stop token ${id}, which tokenizer.json does not have`);
    stopIds.add(id);
  }
  for (const id of [ids.user, ids.assistant]) if (id !== null) stopIds.add(id);
  return [...stopIds];
}
