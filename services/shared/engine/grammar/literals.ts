/**
 * Values that an answer is held to letter by letter, ranges of numbers, and strings of bounds. The library would write values in ways of its own
 * (lists and objects without whitespace, a slash as `\/`, 0.1 with seventeen digits), and is wrong about most ranges: it is given a mark in the
 * place of each, and what it stands for is put into the grammar that it makes.
 */
export class Literals {
  readonly #expressions: string[] = [];
  readonly #rules = new Map<string, string>();

  get size(): number {
    return this.#expressions.length;
  }

  /** What the library is given for a value that is written as `text`. It has to be a definition of its own. */
  add(text: string): { readonly const: string } {
    return this.addExpression(`"${text.replace(/["\\]/g, "\\$&")}"`);
  }

  /** The same for whatever an expression of the library's grammar stands for. */
  addExpression(expression: string): { readonly const: string } {
    this.#expressions.push(expression);
    return { const: `=${this.#expressions.length}` };
  }

  /** A rule that expressions may name, once however often it is given. The library's own begin with `root`, `basic_`, `defs_` and the like. */
  rule(name: string, expression: string): void {
    this.#rules.set(name, expression);
  }

  /** The library's grammar with what was added in it. Nothing but a value is the whole of a rule as one string in quotes. */
  into(ebnf: string): string {
    const filled = ebnf.replace(MARKED_RULE, (_, rule: string, mark: string) => `${rule}${this.#expressions[Number(mark) - 1]!}`);
    return [filled, ...[...this.#rules].map(([name, expression]) => `${name} ::= ${expression}`)].join("\n");
  }
}

const MARKED_RULE = /^(\S+ ::= )"\\"=(\d+)\\""$/gm;
