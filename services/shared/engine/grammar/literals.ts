/**
 * Values that an answer is held to letter by letter. The library would write them in ways of its own (lists and objects without
 * whitespace, a slash as `\/`, 0.1 with seventeen digits): it is given a mark in the place of each, and the text is put into the grammar
 * that it makes.
 */
export class Literals {
  readonly #texts: string[] = [];

  get size(): number {
    return this.#texts.length;
  }

  /** What the library is given for a value that is written as `text`. It has to be a definition of its own. */
  add(text: string): { readonly const: string } {
    this.#texts.push(text);
    return { const: `=${this.#texts.length}` };
  }

  /** The library's grammar with the texts in it. Nothing but a value is the whole of a rule as one string in quotes. */
  into(ebnf: string): string {
    return ebnf.replace(
      MARKED_RULE,
      (_, rule: string, mark: string) => `${rule}"${this.#texts[Number(mark) - 1]!.replace(/["\\]/g, "\\$&")}"`,
    );
  }
}

const MARKED_RULE = /^(\S+ ::= )"\\"=(\d+)\\""$/gm;
