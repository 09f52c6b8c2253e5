import { encoded, type Range, spelled } from "./characters.ts";
import type { Expression, Rule } from "./expression.ts";
import { pruned } from "./pruning.ts";
import { refusedAt } from "./schema-forms.ts";
import type { Text } from "./text.ts";
import { Ways } from "./ways.ts";

/** States of one grammar. Most come from repeated parts; each takes some 600 bytes. */
const GRAMMAR_STATES_MAX = 200_000;

/** A place in a rule where an answer may stand, and the bytes that lead on from it. */
export interface State {
  readonly moves: Move[];
  /** States reached without a byte. */
  readonly free: number[];
  /** Rules that may begin here: their first state, and the state after them. */
  readonly calls: Call[];
  /** The rule may end here. */
  ends: boolean;
  /** In a text, `heads` are the states of its automaton that this is, or that the character begun here may lead to. */
  readonly text: Text | null;
  readonly heads: readonly number[];
}
export interface Move {
  readonly first: number;
  readonly last: number;
  readonly to: number;
  /** In a text: this byte completes a character, or the whole text. */
  readonly completes: boolean;
}
export interface Call {
  readonly start: number;
  readonly back: number;
  /** Nothing is left after it (a tail call): its caller is not returned to, so lists do not make stacks grow. */
  readonly isLast: boolean;
}

export interface Network {
  readonly states: readonly State[];
  readonly start: number;
}

/**
 * A rule's network, without what leads to no end: whatever begins can end. Throws INVALID_REQUEST if nothing is left.
 */
export function networkOf(root: Rule): Network {
  const maker = new Maker();
  const start = maker.startOf(root);
  maker.fill();
  const states = pruned(maker.states);
  if (states[start] === undefined) throw refusedAt("", "cannot be met: no value satisfies this schema");
  return { states: states.map((state) => state ?? DEAD), start };
}

class Maker extends Ways<Expression> {
  readonly states: State[] = [];
  readonly #starts = new Map<Rule, number>();
  readonly #waiting: Rule[] = [];
  readonly #texts = new Map<Text, number>();

  startOf(rule: Rule): number {
    const known = this.#starts.get(rule);
    if (known !== undefined) return known;
    const start = this.add();
    this.#starts.set(rule, start);
    this.#waiting.push(rule);
    return start;
  }

  /** One rule after the other, so that rules may refer to one another to any depth. */
  fill(): void {
    for (let rule = this.#waiting.shift(); rule !== undefined; rule = this.#waiting.shift())
      this.states[this.through(rule.body, this.startOf(rule))]!.ends = true;
  }

  protected add(text: Text | null = null, heads: readonly number[] = []): number {
    if (this.states.length >= GRAMMAR_STATES_MAX)
      throw refusedAt("", `makes more than the ${GRAMMAR_STATES_MAX} states that are supported`);
    return this.states.push({ moves: [], free: [], calls: [], ends: false, text, heads }) - 1;
  }

  protected free(from: number, to: number): void {
    this.states[from]!.free.push(to);
  }

  protected through(expression: Expression, from: number): number {
    const { kind } = expression;
    if (kind === "all") return expression.parts.reduce((end, part) => this.through(part, end), from);
    if (kind === "repeat") return this.repeat(expression, from);
    const end = this.add();
    if (kind === "set") for (const range of expression.ranges) this.#bytes(encoded(range), from, end);
    else if (kind === "any") for (const choice of expression.choices) this.free(this.through(choice, this.behind(from)), end);
    else if (kind === "rule") this.states[from]!.calls.push({ start: this.startOf(expression.rule), back: end, isLast: false });
    else this.#text(expression.text, from, end);
    return end;
  }

  #bytes(sequences: ReadonlyArray<readonly Range[]>, from: number, to: number): void {
    for (const bytes of sequences) {
      let at = from;
      bytes.forEach(([first, last], i) => {
        const next = i === bytes.length - 1 ? to : this.add();
        this.states[at]!.moves.push({ first, last, to: next, completes: false });
        at = next;
      });
    }
  }

  /** Called like a rule, and made once however often it occurs. */
  #text(text: Text, from: number, back: number): void {
    const start = this.#texts.get(text) ?? this.#textStates(text);
    this.#texts.set(text, start);
    this.states[from]!.calls.push({ start, back, isLast: false });
  }

  #textStates(text: Text): number {
    const end = this.add();
    this.states[end]!.ends = true;
    const numbers = text.automaton.map((_, head) => this.add(text, [head]));
    for (const [i, { accepts, steps }] of text.automaton.entries()) {
      if (accepts) this.states[numbers[i]!]!.moves.push({ first: QUOTE, last: QUOTE, to: end, completes: true });
      const ways = steps.flatMap(({ ranges, to }) => ranges.flatMap(spelled).map((bytes): Way => ({ bytes, to })));
      this.#ways(ways, numbers[i]!, text, numbers);
    }
    return numbers[0]!;
  }

  /**
   * Splits by the first byte. Ranges of first bytes are equal or disjoint:
   * one of several bytes is followed by all continuation bytes.
   */
  #ways(all: readonly Way[], from: number, text: Text, numbers: readonly number[]): void {
    const behind = new Map<string, { readonly first: Range; readonly ways: Way[] }>();
    for (const { bytes, to } of all) {
      const [first, ...bytesBehind] = bytes as [Range, ...Range[]];
      const known = behind.get(String(first)) ?? { first, ways: [] };
      known.ways.push({ bytes: bytesBehind, to });
      behind.set(String(first), known);
    }
    for (const { first, ways } of behind.values()) {
      const completes = ways[0]!.bytes.length === 0;
      const to = completes ? numbers[ways[0]!.to]! : this.add(text, [...new Set(ways.map(({ to }) => to))]);
      this.states[from]!.moves.push({ first: first[0], last: first[1], to, completes });
      if (!completes) this.#ways(ways, to, text, numbers);
    }
  }
}

interface Way {
  readonly bytes: readonly Range[];
  /** A state of the automaton. */
  readonly to: number;
}

const QUOTE = 0x22;
const DEAD: State = { moves: [], free: [], calls: [], ends: false, text: null, heads: [] };
