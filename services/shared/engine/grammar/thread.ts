import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { ServingError } from "../../runtime/errors.ts";
import { toWire, type WireError } from "../threads/wire-error.ts";
import { TokenBytes } from "../tokenizer/bytes.ts";
import { Answer } from "./answer.ts";
import { Kept } from "./kept.ts";
import { Masks } from "./masks.ts";
import { networkOf } from "./network.ts";
import { readSchema } from "./schema.ts";
import { tryTexts } from "./trial.ts";
import { type Trie, triesOf, type Vocabulary } from "./trie.ts";

/** Handled one at a time; each but `close` is answered. */
export type Request =
  | { readonly kind: "check"; readonly schema: string }
  /** Begins to follow an answer that has `ids`. `more`: further ids come first, so no masks are returned. */
  | ({ readonly kind: "open"; readonly schema: string } & Followed)
  /** The answer has `ids` more. */
  | ({ readonly kind: "next" } & Followed)
  | { readonly kind: "close"; readonly answer: number };

interface Followed {
  readonly answer: number;
  readonly ids: readonly number[];
  readonly more?: true;
  /** Ids that may come after `ids`, and whose masks are wanted ahead of time. */
  readonly draft?: readonly number[];
}

export type Reply =
  | { readonly kind: "ready" }
  /** What may follow the answer, and each id of the draft, as far as the draft may come and costs little. */
  | { readonly kind: "allowed"; readonly masks: readonly Uint32Array<ArrayBuffer>[] }
  /** The thread was started anew and does not know the answer. */
  | { readonly kind: "unknown" }
  | { readonly kind: "failed"; readonly error: WireError };

/** Grammars kept for the next answers with the same schema. */
const GRAMMARS_MAX = 32;
/** States of all grammars, those of answers in progress included: some 600 bytes each. */
const ALL_STATES_MAX = 400_000;

class Grammars {
  readonly #tries: readonly Trie[];
  readonly #vocabulary: Vocabulary;
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #kept = new Kept();
  /** Grammars of all answers in progress, and others; the last used come last. */
  readonly #masks = new Map<string, Masks>();
  readonly #answers = new Map<number, Answer>();

  constructor(vocabulary: Vocabulary) {
    const bytes = new TokenBytes(vocabulary.table);
    this.#vocabulary = vocabulary;
    this.#tries = triesOf(vocabulary);
    this.#bytesOf = (id) => (id >= vocabulary.vocabSize || bytes.isSpecial(id) ? NONE : bytes.of(id));
  }

  reply(request: Exclude<Request, { kind: "close" }>): Reply {
    try {
      for (const masks of this.#masks.values()) masks.forgetInTurn();
      const answer = request.kind === "next" ? this.#answers.get(request.answer) : this.#begun(request.schema, request.kind === "check");
      if (answer === undefined) return { kind: "unknown" };
      if (request.kind === "check") return { kind: "allowed", masks: [answer.allowed()] };
      answer.take(request.ids);
      if (request.kind === "open") this.#answers.set(request.answer, answer);
      return { kind: "allowed", masks: request.more ? [] : [answer.allowed(), ...answer.ahead(request.draft ?? [])] };
    } catch (thrown) {
      return { kind: "failed", error: toWire(thrown) };
    }
  }

  close(answer: number): void {
    this.#answers.delete(answer);
  }

  #begun(schema: string, isTried: boolean): Answer {
    const masks = this.#masks.get(schema) ?? this.#made(schema, isTried);
    this.#masks.delete(schema);
    this.#makeRoom(masks.size);
    this.#masks.set(schema, masks);
    return new Answer(masks, this.#bytesOf, this.#vocabulary.stopIds);
  }

  #made(schema: string, isTried: boolean): Masks {
    const network = networkOf(readSchema(schema));
    const masks = new Masks(network, this.#tries, this.#vocabulary.vocabSize, this.#kept);
    if (isTried) tryTexts(network, masks);
    return masks;
  }

  /** Forgets unused grammars, the oldest first. Throws OVERLOADED if that is not enough. */
  #makeRoom(size: number): void {
    const used = new Set([...this.#answers.values()].map(({ masks }) => masks));
    const states = () => [...this.#masks.values()].reduce((sum, { size }) => sum + size, size);
    for (const [schema, masks] of this.#masks)
      if (!used.has(masks) && (this.#masks.size >= GRAMMARS_MAX || states() > ALL_STATES_MAX)) this.#masks.delete(schema);
    if (states() > ALL_STATES_MAX) throw new ServingError("OVERLOADED", "the schemas of answers under way leave no room for another");
  }
}

const NONE = new Uint8Array(0);

function serve(port: MessagePort, vocabulary: Vocabulary): void {
  const grammars = new Grammars(vocabulary);
  port.on("message", (request: Request) => {
    if (request.kind === "close") {
      grammars.close(request.answer);
      return;
    }
    const reply = grammars.reply(request);
    port.postMessage(reply, reply.kind === "allowed" ? reply.masks.map(({ buffer }) => buffer) : []);
  });
  port.postMessage({ kind: "ready" } satisfies Reply);
}

if (parentPort !== null) serve(parentPort, workerData as Vocabulary);
