import type { Vocabulary } from "../grammar/trie.ts";
import { startThread } from "../threads/start-thread.ts";
import { ThreadCalls } from "../threads/thread-calls.ts";
import { TokenBytes } from "./bytes.ts";
import type { SpecialIds } from "./files.ts";
import { spacedWords } from "./pieces.ts";
import type { Ready, Request, ThreadOptions } from "./thread.ts";

/**
 * Text to token ids and back, for one model folder (spec 5.1). A thread of its own encodes, piece by piece, so that a
 * book does not block the event loop. A token's bytes are looked up here, and text.ts makes text of them. The thread
 * does not keep the process alive.
 */
export class Tokenizer {
  readonly ids: SpecialIds;
  /** Ids that end an answer: EOS, those of generation_config.json, and role tokens no answer may contain (spec 5.5). */
  readonly stopIds: ReadonlySet<number>;
  /** One more than the largest id that has text; a model's embedding may be padded beyond it. */
  readonly vocabSize: number;
  readonly #bytes: TokenBytes;
  readonly #thread: ThreadCalls<Request, Int32Array>;
  readonly #spacesBeginWords: boolean;

  private constructor(thread: ThreadCalls<Request, Int32Array>, { table, ids, stopIds, spacesBeginWords }: Ready) {
    this.#thread = thread;
    this.#spacesBeginWords = spacesBeginWords;
    this.#bytes = new TokenBytes(table);
    this.ids = ids;
    this.stopIds = new Set(stopIds);
    this.vocabSize = this.#bytes.size;
  }

  /**
   * Reads tokenizer.json and, where present, tokenizer_config.json and
   * generation_config.json. Throws BAD_CHECKPOINT naming the file. `pieceChars`: the
   * number of characters after which the next place to cut is sought; no id depends on it.
   */
  static async load(folder: string, { pieceChars }: { readonly pieceChars?: number } = {}): Promise<Tokenizer> {
    const workerData: ThreadOptions = { folder, pieceChars };
    const worker = startThread(import.meta.url, "./thread", { workerData, name: "tokenizer" });
    const { thread, ready } = await ThreadCalls.open<Ready, Request, Int32Array>(worker, "tokenizer");
    return new Tokenizer(thread, ready);
  }

  /**
   * The ids of `text`, with nothing added in front. Special tokens written out in the
   * text become their ids, as the chat encoder needs. Throws INVALID_REQUEST for text
   * without a UTF-8 form, CONTEXT_LENGTH as soon as there are more than `maxTokens` ids.
   */
  encode(text: string, maxTokens = Number.POSITIVE_INFINITY): Promise<Int32Array> {
    return this.#thread.call({ text, maxTokens });
  }

  /** A lower bound of the number of ids of `text`, without encoding it. */
  atLeast(text: string): number {
    return text === "" ? 0 : 1 + (this.#spacesBeginWords ? spacedWords(text) : 0);
  }

  /**
   * The bytes a token stands for: a piece of UTF-8, not always whole characters.
   * Empty for ids without text (padding). Do not write to it.
   */
  bytesOf(id: number): Uint8Array {
    return this.#bytes.of(id);
  }

  /** What grammars need to know, for a model with `vocabSize` logits. */
  vocabulary(vocabSize = this.vocabSize): Vocabulary {
    return { table: this.#bytes.table, stopIds: [...this.stopIds], vocabSize };
  }

  /** Ends the thread; texts in progress reject with UNAVAILABLE. Bytes can be looked up afterwards. Idempotent. */
  close(): Promise<void> {
    return this.#thread.close();
  }
}
