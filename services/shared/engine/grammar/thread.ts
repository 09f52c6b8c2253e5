import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { ServingError } from "../../runtime/errors.ts";
import { toWire, type WireError } from "../threads/wire-error.ts";
import { TokenBytes, type TokenTable } from "../tokenizer/bytes.ts";
import { readSchema } from "./schema.ts";
import { refusedAt } from "./schema-forms.ts";
import { type CompiledGrammar, type GrammarCompiler, type GrammarMatcher, loadXgrammar, type Xgrammar } from "./xgrammar.ts";

/** Whose tokens an answer is made of. */
export interface Vocabulary {
  readonly table: TokenTable;
  readonly stopIds: readonly number[];
  /** Of the model: ids without text are never allowed. */
  readonly vocabSize: number;
}

/** One at a time; each but `close` is answered. */
export type Request =
  | { readonly kind: "check"; readonly schema: string }
  /** Begins to follow an answer that already has `ids`. */
  | { readonly kind: "open"; readonly answer: number; readonly schema: string; readonly ids: readonly number[] }
  /** The answer got `ids` more. */
  | { readonly kind: "next"; readonly answer: number; readonly ids: readonly number[] }
  | { readonly kind: "close"; readonly answer: number };

/** `spent`: the thread is of no more use. */
export type Reply =
  | { readonly kind: "ready" }
  | { readonly kind: "allowed"; readonly mask: Uint32Array<ArrayBuffer>; readonly spent: boolean }
  /** The answer is not followed here, because the thread was started anew. */
  | { readonly kind: "unknown" }
  | { readonly kind: "failed"; readonly error: WireError; readonly spent: boolean };

/** Compiled schemas that are kept, the latest used last. */
const COMPILED_MAX = 32;
/** Of the library, which gives nothing back: then a new one is cheaper. */
const SIZE_MAX = 512 * 1024 ** 2;
/**
 * Whitespace as Python's json.dumps writes it. Wherever a model may put as much as it likes, one that has lost its way puts nothing else,
 * and large schemas compile a thousand times slower.
 */
const ON_ONE_LINE: [anyWhitespace: false, indent: -1, separators: [string, string]] = [false, -1, [", ", ": "]];

class Grammars {
  readonly #xgrammar: Xgrammar;
  readonly #compiler: GrammarCompiler;
  readonly #compiled = new Map<string, CompiledGrammar>();
  readonly #answers = new Map<number, GrammarMatcher>();

  constructor(xgrammar: Xgrammar, compiler: GrammarCompiler) {
    this.#xgrammar = xgrammar;
    this.#compiler = compiler;
  }

  static async open({ table, stopIds, vocabSize }: Vocabulary): Promise<Grammars> {
    const xgrammar = await loadXgrammar();
    const { TokenizerInfo, GrammarCompiler } = xgrammar.library;
    const bytes = new TokenBytes(table);
    const texts = Array.from({ length: vocabSize }, (_, id) => (bytes.isSpecial(id) ? new Uint8Array() : bytes.of(id)));
    const info = await TokenizerInfo.createTokenizerInfo(texts as unknown as string[], "raw", false, vocabSize, [...stopIds]); // bytes are strings of C++
    return new Grammars(xgrammar, await GrammarCompiler.createGrammarCompiler(info, false));
  }

  async answer(request: Exclude<Request, { kind: "close" }>): Promise<Reply> {
    try {
      const mask = await this.#allowed(request);
      if (mask === null) return { kind: "unknown" };
      if (this.#xgrammar.overflown) throw refusedAt("", "is nested deeper than is supported");
      return { kind: "allowed", mask, spent: this.#xgrammar.size > SIZE_MAX };
    } catch (thrown) {
      return this.#failed(thrown);
    }
  }

  close(answer: number): void {
    this.#answers.get(answer)?.dispose();
    this.#answers.delete(answer);
  }

  async #allowed(request: Exclude<Request, { kind: "close" }>): Promise<Uint32Array<ArrayBuffer> | null> {
    if (request.kind === "next") {
      const matcher = this.#answers.get(request.answer);
      return matcher === undefined ? null : following(matcher, request.ids);
    }
    const matcher = await this.#xgrammar.library.GrammarMatcher.createGrammarMatcher(await this.#compile(request.schema));
    if (request.kind === "open") {
      this.#answers.set(request.answer, matcher);
      return following(matcher, request.ids);
    }
    const mask = await following(matcher, []);
    matcher.dispose();
    return mask;
  }

  async #compile(schema: string): Promise<CompiledGrammar> {
    const compiled = this.#compiled.get(schema) ?? (await this.#compileAnew(schema));
    this.#compiled.delete(schema);
    this.#compiled.set(schema, compiled);
    const [oldest] = this.#compiled;
    if (this.#compiled.size > COMPILED_MAX && oldest !== undefined) {
      oldest[1].dispose();
      this.#compiled.delete(oldest[0]);
    }
    return compiled;
  }

  /** As the library's `compileJSONSchema`, but for what is put into the grammar between its two steps. */
  async #compileAnew(text: string): Promise<CompiledGrammar> {
    const { Grammar, Testings } = this.#xgrammar.library;
    const { schema, literals } = readSchema(text);
    const ebnf = await Testings._jsonSchemaToEBNF(schema, ...ON_ONE_LINE, /* strictMode */ false);
    const grammar = await Grammar.fromEBNF(literals.into(ebnf));
    const compiled = await this.#compiler.compileGrammar(grammar);
    grammar.dispose();
    return compiled;
  }

  /** What is not our own word is the library's last. */
  #failed(thrown: unknown): Reply {
    const ours = thrown instanceof ServingError;
    const words = this.#xgrammar.complaint() || (thrown instanceof Error ? thrown.message : String(thrown));
    const error = toWire(ours ? thrown : refusedAt("", `is not supported: ${words}`));
    return { kind: "failed", error, spent: !ours || this.#xgrammar.overflown };
  }
}

/** What may follow once `ids` are taken: bit `id % 32` of word `id / 32`. */
async function following(matcher: GrammarMatcher, ids: readonly number[]): Promise<Uint32Array<ArrayBuffer>> {
  for (const id of ids)
    if (!matcher.acceptToken(id)) throw new ServingError("INTERNAL", `token ${id} of the answer is not what its schema allows`);
  const mask = await matcher.getNextTokenBitmask();
  if (mask.every((word) => word === 0)) throw refusedAt("", "cannot be met: nothing may follow what is there");
  return new Uint32Array(mask.buffer as ArrayBuffer, mask.byteOffset, mask.length);
}

async function serve(port: MessagePort, vocabulary: Vocabulary): Promise<void> {
  const grammars = await Grammars.open(vocabulary);
  port.on("message", async (request: Request) => {
    if (request.kind === "close") {
      grammars.close(request.answer);
      return;
    }
    const reply = await grammars.answer(request);
    port.postMessage(reply, reply.kind === "allowed" ? [reply.mask.buffer] : []);
  });
  port.postMessage({ kind: "ready" } satisfies Reply);
}

if (parentPort !== null) await serve(parentPort, workerData as Vocabulary);
