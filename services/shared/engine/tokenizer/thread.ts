import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import type { Tokenizer as Native } from "tokenizers";
import { refusal, ServingError } from "../../runtime/errors.ts";
import { joined } from "../../runtime/joined.ts";
import type { ThreadCall, ThreadReply } from "../threads/thread-calls.ts";
import { toWire } from "../threads/wire-error.ts";
import { type TokenTable, tokenTable } from "./bytes.ts";
import { readTokenizerFiles, type SpecialIds } from "./files.ts";
import { cutter, spacesBeginWords } from "./pieces.ts";

/**
 * The tokenizer's own thread. The library's results are objects that take longer to release than to use, and are
 * released all at once: some hundred milliseconds per million tokens, which delays nobody here. The encoding itself
 * runs in the native pool, for all texts in turn.
 */
export interface ThreadOptions {
  readonly folder: string;
  readonly pieceChars: number | undefined;
}

export interface Request {
  readonly text: string;
  readonly maxTokens: number;
}

export interface Ready {
  readonly table: TokenTable;
  readonly ids: SpecialIds;
  readonly stopIds: readonly number[];
  readonly spacesBeginWords: boolean;
}

type Reply = ThreadReply<Ready, Int32Array<ArrayBuffer>>;

async function serve(port: MessagePort, { folder, pieceChars }: ThreadOptions): Promise<void> {
  const reply = (message: Reply, moved: ArrayBuffer[] = []) => port.postMessage(message, moved);
  try {
    const { native, file, ids, stopIds } = await readTokenizerFiles(folder);
    const pieces = cutter(file, pieceChars);
    port.on("message", ({ id, request: { text, maxTokens } }: ThreadCall<Request>) => {
      encode(native, pieces(text), text, maxTokens).then(
        (output) => reply({ kind: "done", id, output }, [output.buffer]),
        (error) => reply({ kind: "failed", id, error: toWire(error) }),
      );
    });
    reply({ kind: "ready", ready: { table: tokenTable(file), ids, stopIds, spacesBeginWords: spacesBeginWords(file) } });
  } catch (error) {
    reply({ kind: "unready", error: toWire(error) });
  }
}

/** The ids of all pieces. Each piece is encoded while the ids of the one before are taken over. */
async function encode(native: Native, pieces: Iterable<string>, text: string, maxTokens: number): Promise<Int32Array<ArrayBuffer>> {
  requireUnicode(text);
  const parts: Int32Array[] = [];
  let count = 0;
  const take = (ids: Int32Array) => {
    parts.push(ids);
    count += ids.length;
    if (count > maxTokens) throw tooLong(maxTokens);
  };
  let ahead: Promise<Int32Array> | null = null;
  for (const piece of pieces) {
    const next = encodePiece(native, piece);
    next.catch(() => {}); // awaited below; a throw in between must not leave its rejection unhandled
    if (ahead !== null) take(await ahead);
    ahead = next;
  }
  if (ahead !== null) take(await ahead);
  return joined(Int32Array, parts);
}

async function encodePiece(native: Native, piece: string): Promise<Int32Array> {
  const encoding = await native.encode(piece, null, { addSpecialTokens: false });
  return Int32Array.from(encoding.getIds());
}

function requireUnicode(text: string): void {
  const at = text.search(/\p{Surrogate}/u);
  if (at >= 0) throw refusal(`text has half a surrogate pair at character ${at}: send valid Unicode`);
}

const tooLong = (maxTokens: number) =>
  new ServingError("CONTEXT_LENGTH", `the text has more than the ${maxTokens} tokens that fit; shorten it`, {
    apiCode: "context_length_exceeded",
  });

if (parentPort !== null) void serve(parentPort, workerData as ThreadOptions);
