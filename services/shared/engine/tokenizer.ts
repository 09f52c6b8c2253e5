import type { Worker } from "node:worker_threads";
import { ServingError } from "../runtime/errors.ts";
import type { Vocabulary } from "./grammar/grammars.ts";
import { startThread } from "./start-thread.ts";
import { TokenBytes } from "./tokenizer-bytes.ts";
import type { SpecialIds } from "./tokenizer-files.ts";
import { spacedWords } from "./tokenizer-pieces.ts";
import type { Reply, Request, ThreadOptions, WireError } from "./tokenizer-thread.ts";

export type { SpecialIds } from "./tokenizer-files.ts";

/**
 * Text to token ids and back, for one model folder (spec 5.1). Encoding is done by a thread of its own, piece by piece, so that a book does
 * not hold up the event loop; what a token stands for is looked up, and text.ts makes text of it. The thread does not keep the process alive.
 */
export class Tokenizer {
  readonly ids: SpecialIds;
  /** Ids that end an answer: end of sentence, what generation_config.json adds, and the role tokens no answer may contain (spec 5.5). */
  readonly stopIds: ReadonlySet<number>;
  /** One more than the largest id that has text; a model's embedding may be padded beyond it. */
  readonly vocabSize: number;
  private readonly bytes: TokenBytes;
  private readonly thread: Thread;
  private readonly spacesBeginWords: boolean;

  private constructor(thread: Thread, { table, ids, stopIds, spacesBeginWords }: Extract<Reply, { kind: "ready" }>) {
    this.thread = thread;
    this.spacesBeginWords = spacesBeginWords;
    this.bytes = new TokenBytes(table);
    this.ids = ids;
    this.stopIds = new Set(stopIds);
    this.vocabSize = this.bytes.size;
  }

  /**
   * Reads tokenizer.json and, where present, tokenizer_config.json and generation_config.json. Throws BAD_CHECKPOINT naming the file.
   * `pieceChars`: after how many characters the next place to cut is looked for; no id depends on it.
   */
  static async load(folder: string, { pieceChars }: { readonly pieceChars?: number } = {}): Promise<Tokenizer> {
    const thread = new Thread({ folder, pieceChars });
    return new Tokenizer(thread, await thread.ready);
  }

  /**
   * The ids of `text`; nothing is added in front. Special tokens written out in the text become their ids, as the chat encoder needs.
   * Throws INVALID_REQUEST for what has no UTF-8 form, CONTEXT_LENGTH as soon as there are more than `maxTokens`.
   */
  encode(text: string, maxTokens = Number.POSITIVE_INFINITY): Promise<Int32Array> {
    return this.thread.encode(text, maxTokens);
  }

  /** No more than `text` has ids: what is known of them without encoding it. */
  atLeast(text: string): number {
    return text === "" ? 0 : 1 + (this.spacesBeginWords ? spacedWords(text) : 0);
  }

  /** The bytes a token stands for: a piece of UTF-8, not always whole characters. Empty for ids without text (padding). Do not write to it. */
  bytesOf(id: number): Uint8Array {
    return this.bytes.of(id);
  }

  /** What grammars need to know, for a model with `vocabSize` logits. */
  vocabulary(vocabSize = this.vocabSize): Vocabulary {
    return { table: this.bytes.table, stopIds: [...this.stopIds], vocabSize };
  }

  /** Ends the thread; texts in progress reject with UNAVAILABLE. Bytes can be looked up afterwards. Idempotent. */
  async close(): Promise<void> {
    await this.thread.close();
  }
}

/** Texts in the thread at one time. Requests are admitted before they come here; this catches a caller that does not wait. */
const PENDING_MAX = 16_384;

interface Pending {
  readonly resolve: (ids: Int32Array) => void;
  readonly reject: (error: ServingError) => void;
}

/** The tokenizer's thread seen from outside. When it dies, so does everything that waits for it. */
class Thread {
  readonly ready: Promise<Extract<Reply, { kind: "ready" }>>;
  private readonly worker: Worker;
  private readonly pending = new Map<number, Pending>();
  private lastId = 0;
  private failure: ServingError | null = null;

  constructor(options: ThreadOptions) {
    this.worker = startThread(import.meta.url, "./tokenizer-thread", { workerData: options, name: "tokenizer" });
    this.ready = new Promise((resolve, reject) => {
      this.worker.on("message", (reply: Reply) => {
        if (reply.kind === "encoded" || reply.kind === "failed") return this.receive(reply);
        this.worker.unref();
        if (reply.kind === "ready") return resolve(reply);
        void this.close();
        reject(fromWire(reply.error));
      });
      const died = (cause: unknown) => {
        this.fail(
          new ServingError("INTERNAL", `the tokenizer's thread ended: ${cause instanceof Error ? cause.message : cause}`, { cause }),
        );
        reject(this.failure);
      };
      this.worker.on("error", died);
      this.worker.on("exit", (code) => died(`exit code ${code}`));
    });
  }

  encode(text: string, maxTokens: number): Promise<Int32Array> {
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.pending.size >= PENDING_MAX)
      return Promise.reject(new ServingError("OVERLOADED", `${PENDING_MAX} texts wait for the tokenizer`));
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.worker.ref();
      this.worker.postMessage({ id, text, maxTokens } satisfies Request);
    });
  }

  async close(): Promise<void> {
    this.fail(new ServingError("UNAVAILABLE", "the tokenizer was closed"));
    await this.worker.terminate();
  }

  private receive(reply: Extract<Reply, { kind: "encoded" | "failed" }>): void {
    const pending = this.pending.get(reply.id);
    this.pending.delete(reply.id);
    if (this.pending.size === 0) this.worker.unref();
    if (reply.kind === "encoded") pending?.resolve(reply.ids);
    else pending?.reject(fromWire(reply.error));
  }

  private fail(failure: ServingError): void {
    this.failure ??= failure;
    for (const { reject } of this.pending.values()) reject(this.failure);
    this.pending.clear();
  }
}

const fromWire = ({ code, message, apiCode }: WireError): ServingError =>
  new ServingError(code, message, apiCode === null ? {} : { apiCode });
