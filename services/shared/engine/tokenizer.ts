import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { Tokenizer as Native } from "tokenizers";
import { ServingError } from "../runtime/errors.ts";
import { TokenBytes, type TokenizerFile } from "./tokenizer-bytes.ts";
import { cutter } from "./tokenizer-pieces.ts";

/**
 * Text to token ids and back, for one model folder (spec 5.1). Encoding runs in the native pool, piece by piece, so that a book neither
 * holds up the event loop nor exists there as one object; decoding is a table look-up and exact for every id.
 */
export class Tokenizer {
  readonly ids: SpecialIds;
  /** Ids that end an answer: end of sentence, what generation_config.json adds, and the role tokens no answer may contain (spec 5.5). */
  readonly stopIds: ReadonlySet<number>;
  /** One more than the largest id that has text; a model's embedding may be padded beyond it. */
  readonly vocabSize: number;
  private readonly native: Native;
  private readonly bytes: TokenBytes;
  private readonly pieces: (text: string) => Iterable<string>;

  private constructor(
    native: Native,
    bytes: TokenBytes,
    pieces: (text: string) => Iterable<string>,
    ids: SpecialIds,
    stopIds: Set<number>,
  ) {
    this.native = native;
    this.bytes = bytes;
    this.pieces = pieces;
    this.ids = ids;
    this.stopIds = stopIds;
    this.vocabSize = bytes.size;
  }

  /** Reads tokenizer.json and, where present, tokenizer_config.json and generation_config.json. Throws BAD_CHECKPOINT naming the file. */
  static async load(folder: string, options: { readonly pieceChars?: number } = {}): Promise<Tokenizer> {
    const path = join(folder, "tokenizer.json");
    const text = await readFile(path, "utf8").catch((cause) => refuse(path, "cannot be read", cause));
    const { native, file } = parseTokenizer(path, text);
    const names = await readOptional(join(folder, "tokenizer_config.json"));
    const generation = await readOptional(join(folder, "generation_config.json"));
    const bytes = new TokenBytes(file);
    const ids = specialIds(path, native, names);
    return new Tokenizer(native, bytes, cutter(file, options.pieceChars), ids, stops(folder, ids, generation, bytes.size));
  }

  /**
   * The ids of `text`; nothing is added in front. Special tokens written out in the text become their ids, as the chat encoder needs.
   * Throws INVALID_REQUEST for what has no UTF-8 form, CONTEXT_LENGTH as soon as there are more than `maxTokens`.
   */
  async encode(text: string, maxTokens = Number.POSITIVE_INFINITY): Promise<Int32Array> {
    requireText(text);
    const parts: Int32Array[] = [];
    let count = 0;
    let ahead: Promise<Int32Array> | null = null;
    const take = (ids: Int32Array) => {
      parts.push(ids);
      count += ids.length;
      if (count > maxTokens) throw tooLong(maxTokens);
    };
    for (const piece of this.pieces(text)) {
      const next = this.encodePiece(piece);
      next.catch(() => {}); // awaited below; a throw in between must not leave it unhandled
      if (ahead !== null) take(await ahead);
      ahead = next;
    }
    if (ahead !== null) take(await ahead);
    return parts.length === 1 ? parts[0]! : joined(parts, count);
  }

  /** As `encode`, one after the other; `maxTokens` is for each. */
  async encodeBatch(texts: readonly string[], maxTokens?: number): Promise<Int32Array[]> {
    const all: Int32Array[] = [];
    for (const text of texts) all.push(await this.encode(text, maxTokens));
    return all;
  }

  /** The bytes a token stands for: a piece of UTF-8, not always whole characters. Empty for ids without text (padding). Do not write to it. */
  bytesOf(id: number): Uint8Array {
    return this.bytes.of(id);
  }

  /** Tokens such as end of sentence or the role tokens, which are markup and not text. */
  isSpecial(id: number): boolean {
    return this.bytes.isSpecial(id);
  }

  /** The text of `ids`; malformed UTF-8 becomes U+FFFD as in a browser. For text while it is generated, see text.ts. */
  async decode(ids: ArrayLike<number>, options: { readonly skipSpecial?: boolean } = {}): Promise<string> {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let text = "";
    for (let start = 0; start < ids.length; start += DECODE_IDS) {
      if (start > 0) await turn();
      const end = Math.min(start + DECODE_IDS, ids.length);
      text += decoder.decode(this.bytes.concat(ids, start, end, options.skipSpecial ?? false), { stream: true });
    }
    return text + decoder.decode();
  }

  private async encodePiece(piece: string): Promise<Int32Array> {
    const encoding = await this.native.encode(piece, null, { addSpecialTokens: false });
    return Int32Array.from(encoding.getIds());
  }
}

/** Ids are read from the file, never assumed. `null`: this vocabulary has no such token. */
export interface SpecialIds {
  readonly bos: number;
  readonly eos: number;
  readonly user: number | null;
  readonly assistant: number | null;
  readonly thinkStart: number | null;
  readonly thinkEnd: number | null;
  readonly dsml: number | null;
}

/** Tokens decoded between two turns of the event loop: under a millisecond. */
const DECODE_IDS = 8_192;

const refuse = (path: string, why: string, cause?: unknown): never => {
  throw new ServingError("BAD_CHECKPOINT", `${path} ${why}`, { cause });
};

const tooLong = (maxTokens: number) =>
  new ServingError("CONTEXT_LENGTH", `the text has more than the ${maxTokens} tokens that fit; shorten it`, {
    apiCode: "context_length_exceeded",
  });

function requireText(text: unknown): asserts text is string {
  if (typeof text !== "string")
    throw new ServingError("INVALID_REQUEST", `text must be a string, not ${text === null ? "null" : typeof text}`);
  const at = text.search(/\p{Surrogate}/u);
  if (at >= 0) throw new ServingError("INVALID_REQUEST", `text has half a surrogate pair at character ${at}: send valid Unicode`);
}

function parseTokenizer(path: string, text: string): { native: Native; file: TokenizerFile } {
  try {
    const file = JSON.parse(text) as TokenizerFile;
    if (file.model?.type !== "BPE" || typeof file.model.vocab !== "object") return refuse(path, "is not a byte-level BPE tokenizer");
    return { native: Native.fromString(text), file };
  } catch (error) {
    if (error instanceof ServingError) throw error;
    return refuse(path, `is damaged: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

type Fields = Readonly<Record<string, unknown>>;

async function readOptional(path: string): Promise<Fields> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    return refuse(path, "cannot be read", error);
  }
  try {
    return JSON.parse(text) as Fields;
  } catch (error) {
    return refuse(path, "is damaged: it is not JSON", error);
  }
}

function specialIds(path: string, native: Native, names: Fields): SpecialIds {
  const need = (token: string) => native.tokenToId(token) ?? refuse(path, `has no token ${token}`);
  return {
    bos: need(tokenName(names.bos_token) ?? "<｜begin▁of▁sentence｜>"),
    eos: need(tokenName(names.eos_token) ?? "<｜end▁of▁sentence｜>"),
    user: native.tokenToId("<｜User｜>"),
    assistant: native.tokenToId("<｜Assistant｜>"),
    thinkStart: native.tokenToId("<think>"),
    thinkEnd: native.tokenToId("</think>"),
    dsml: native.tokenToId("｜DSML｜"),
  };
}

/** tokenizer_config.json writes a token as its text or as `{ content }`. */
const tokenName = (field: unknown): string | null => {
  const name = typeof field === "object" && field !== null ? (field as Fields).content : field;
  return typeof name === "string" ? name : null;
};

function stops(folder: string, ids: SpecialIds, generation: Fields, vocabSize: number): Set<number> {
  const stopIds = new Set<number>([ids.eos]);
  for (const id of [generation.eos_token_id ?? []].flat()) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize)
      refuse(join(folder, "generation_config.json"), `names the stop token ${id}, which tokenizer.json does not have`);
    stopIds.add(id as number);
  }
  for (const id of [ids.user, ids.assistant]) if (id !== null) stopIds.add(id);
  return stopIds;
}

function joined(parts: readonly Int32Array[], count: number): Int32Array {
  const all = new Int32Array(count);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
