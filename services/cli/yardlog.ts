import { join } from "node:path";
import { encodePrompt } from "../shared/engine/chat/prompt.ts";
import type { Tokenizer } from "../shared/engine/tokenizer/tokenizer.ts";
import { refusal, ServingError } from "../shared/runtime/errors.ts";
import type { Random } from "../shared/runtime/random.ts";
import { type FactForm, type Grammar, longestQuestion, readGrammar } from "./yardlog-grammar.ts";

/** A log of a container yard as the demonstration model knows them (the model's README, "A log"), with questions and their true answers. */
export interface Yardlog {
  readonly text: string;
  readonly questions: readonly { readonly question: string; readonly truth: string }[];
  /** Tokens of the whole prompt with the first question (of the log alone, if there is none). */
  readonly tokens: number;
}

interface YardlogOptions {
  /** The model's folder: its grammar.json holds words and sentences. */
  readonly folder: string;
  readonly tokenizer: Tokenizer;
  /** The log follows from the stream of these numbers. */
  readonly random: Random;
  /** Prompts have at most so many tokens and, as logs grow by lines, at most LINE_TOKENS_MAX less. */
  readonly tokens: number;
  /** How many facts are asked for, drawn evenly from all of the log, none twice. */
  readonly questions: number;
}

export async function generateYardlog({ folder, tokenizer, random, tokens, questions }: YardlogOptions): Promise<Yardlog> {
  const grammar = await readGrammar(join(folder, "grammar.json"));
  const count = async (text: string) => (await tokenizer.encode(text)).length;
  const frame = await count(promptOf(yardlogMessage("", longestQuestion(grammar))));
  const writer = new Writer(grammar, random);

  const lines: { readonly text: string; readonly facts: readonly Fact[] }[] = [];
  for (let room = tokens - frame; room > 0; ) {
    const more = Array.from({ length: Math.max(1, Math.floor(room / LINE_TOKENS_MAX)) }, () => writer.line());
    // A line feed before a letter always ends a token (tokenizer/pieces.ts), so lines count for themselves.
    room -= await count(more.map((line) => `${line.text}\n`).join(""));
    if (room < 0 && more.length > 1)
      throw new ServingError("BAD_CHECKPOINT", `${folder}: grammar.json makes lines of more than ${LINE_TOKENS_MAX} tokens`);
    if (room >= 0) lines.push(...more);
  }
  const facts = lines.flatMap((line) => line.facts);
  if (facts.length < questions) throw refusal(`${tokens} tokens hold ${facts.length} facts, too few for ${questions} questions`);

  const text = lines.map((line) => line.text).join("\n");
  const asked = sample(facts, questions, random).map(({ form, name, sentence }) => ({
    question: draw(form.questions, random).replace("{name}", name),
    truth: sentence,
  }));
  return { text, questions: asked, tokens: await count(promptOf(yardlogMessage(text, asked[0]?.question ?? ""))) };
}

/** The one user message that asks a question about a log. */
export const yardlogMessage = (log: string, question: string): string => `Yard log.\n${log}\n\n${question}`;

const promptOf = (content: string) => encodePrompt([{ role: "user", content }], { release: "preview", thinking: false });

interface Fact {
  readonly form: FactForm;
  readonly name: string;
  readonly sentence: string;
}

/** Writes a log sentence by sentence. */
class Writer {
  readonly #grammar: Grammar;
  readonly #random: Random;
  /** Every name so far, in order, and the kinds of facts still open for it. */
  readonly #names: string[] = [];
  readonly #open = new Map<string, FactForm[]>();
  /** Names with an open kind; where all words are used up, these are all that is left. */
  readonly #usable: string[] = [];
  #fillerNext = false;

  constructor(grammar: Grammar, random: Random) {
    this.#grammar = grammar;
    this.#random = random;
  }

  /** One to four sentences. */
  line(): { text: string; facts: Fact[] } {
    const sentences: string[] = [];
    const facts: Fact[] = [];
    for (let left = 1 + below(4, this.#random); left > 0; left--) {
      if (this.#fillerNext) {
        this.#fillerNext = false;
        sentences.push(`${this.#grammar.filler.map((group) => draw(group, this.#random)).join(" ")}.`);
      } else {
        const fact = this.#fact();
        this.#fillerNext = chance(0.6, this.#random);
        facts.push(fact);
        sentences.push(fact.sentence);
      }
    }
    return { text: sentences.join(" "), facts };
  }

  #fact(): Fact {
    const { ports, numbers } = this.#grammar;
    const name = this.#name();
    const form = this.#takeForm(name);
    const sentence = form.sentence
      .replace("{name}", name)
      .replace("{number}", () => String(draw(numbers, this.#random)))
      .replace("{port}", () => draw(ports, this.#random));
    return { form, name, sentence };
  }

  /** 0.3 a name that shares a word with an earlier one, 0.3 an earlier name, else a fresh one. */
  #name(): string {
    const kind = this.#random.u32() / 2 ** 32;
    const other = kind < 0.3 ? this.#related() : kind < 0.6 ? this.#earlier() : null;
    return other ?? this.#fresh() ?? this.#earlier() ?? this.#exhausted();
  }

  #related(): string | null {
    if (this.#names.length === 0) return null;
    return this.#unused(() => {
      const [adjective, noun] = draw(this.#names, this.#random).split("-") as [string, string];
      return chance(0.5, this.#random)
        ? `${adjective}-${draw(this.#grammar.nouns, this.#random)}`
        : `${draw(this.#grammar.adjectives, this.#random)}-${noun}`;
    });
  }

  #fresh(): string | null {
    return this.#unused(() => `${draw(this.#grammar.adjectives, this.#random)}-${draw(this.#grammar.nouns, this.#random)}`);
  }

  #earlier(): string | null {
    return this.#usable.length === 0 ? null : draw(this.#usable, this.#random);
  }

  #unused(drawn: () => string): string | null {
    for (let tries = 0; tries < DRAWS_MAX; tries++) {
      const name = drawn();
      if (!this.#open.has(name)) return name;
    }
    return null;
  }

  #takeForm(name: string): FactForm {
    let open = this.#open.get(name);
    if (open === undefined) {
      open = [...this.#grammar.facts];
      this.#open.set(name, open);
      this.#names.push(name);
      this.#usable.push(name);
    }
    const [form] = open.splice(below(open.length, this.#random), 1);
    if (open.length === 0) this.#usable.splice(this.#usable.indexOf(name), 1);
    return form!;
  }

  #exhausted(): never {
    throw refusal(`a yard log ends at about ${this.#names.length * this.#grammar.facts.length} facts: every name has all its facts`);
  }
}

/** No line of the grammar is longer. */
const LINE_TOKENS_MAX = 100;

/** Draws of a name that is not used yet before we give up on that kind of name: only near the end of all names that takes many. */
const DRAWS_MAX = 32;

const below = (end: number, random: Random): number => Math.floor((random.u32() / 2 ** 32) * end);
const chance = (probability: number, random: Random): boolean => random.u32() / 2 ** 32 < probability;
const draw = <T>(items: readonly T[], random: Random): T => items[below(items.length, random)]!;

function sample<T>(items: readonly T[], count: number, random: Random): T[] {
  const left = [...items];
  return Array.from({ length: count }, () => left.splice(below(left.length, random), 1)[0]!);
}
