import { EVERY, type Range, within } from "./characters.ts";

/** The part of regular expressions that is regular. */
export type Pattern =
  | { readonly kind: "set"; readonly ranges: readonly Range[] }
  | { readonly kind: "all"; readonly parts: readonly Pattern[] }
  | { readonly kind: "any"; readonly choices: readonly Pattern[] }
  | { readonly kind: "repeat"; readonly part: Pattern; readonly least: number; readonly most: number };

const LENGTH_MAX = 2_000;
const DEPTH_MAX = 32;
const COUNT_MAX = 1_000;
export const ANYTHING: Pattern = { kind: "repeat", part: { kind: "set", ranges: EVERY }, least: 0, most: Number.POSITIVE_INFINITY };

/**
 * The strings that `text` matches as a regular expression of ECMA-262 with the flag u. Throws an error whose message
 * says what is wrong with the pattern.
 */
export function readPattern(text: string): Pattern {
  if (text.length > LENGTH_MAX) throw new Error(`is longer than the ${LENGTH_MAX} characters that are supported`);
  try {
    new RegExp(text, "u");
  } catch (error) {
    throw new Error(`is not an ECMAScript regular expression with the flag u: ${(error as Error).message}`);
  }
  return new PatternReader([...text]).whole();
}

/** Reads a text that is known to be a regular expression. */
class PatternReader {
  readonly #text: readonly string[];
  #at = 0;

  constructor(text: readonly string[]) {
    this.#text = text;
  }

  /** Anchors hold for the alternative that they begin or end. */
  whole(): Pattern {
    const choices: Pattern[] = [];
    do {
      const begins = this.#take("^");
      const parts = this.#parts(0);
      const ends = this.#take("$");
      if (ends && !this.#isOver && this.#next !== "|") throw new Error(ANCHOR);
      choices.push({ kind: "all", parts: [...(begins ? [] : [ANYTHING]), parts, ...(ends ? [] : [ANYTHING])] });
    } while (this.#take("|"));
    return { kind: "any", choices };
  }

  get #isOver(): boolean {
    return this.#at >= this.#text.length;
  }

  get #next(): string | undefined {
    return this.#text[this.#at];
  }

  #take(wanted: string): boolean {
    const found = this.#text.slice(this.#at, this.#at + wanted.length).join("") === wanted;
    if (found) this.#at += wanted.length;
    return found;
  }

  #parts(depth: number): Pattern {
    if (depth > DEPTH_MAX) throw new Error(`has groups deeper than the ${DEPTH_MAX} that are supported`);
    const parts: Pattern[] = [];
    while (!this.#isOver && !["|", ")", "$"].includes(this.#next!)) parts.push(this.#repeated(this.#part(depth)));
    return { kind: "all", parts };
  }

  #part(depth: number): Pattern {
    const sign = this.#text[this.#at++]!;
    if (sign === "(") return this.#group(depth);
    if (sign === "[") return { kind: "set", ranges: this.#class() };
    if (sign === ".") return { kind: "set", ranges: without(LINE_ENDS) };
    if (sign === "^") throw new Error(ANCHOR);
    if (sign === "\\") return { kind: "set", ranges: this.#escape(false) };
    return { kind: "set", ranges: one(sign.codePointAt(0)!) };
  }

  #group(depth: number): Pattern {
    if (["?=", "?!", "?<=", "?<!"].some((sign) => this.#take(sign))) throw new Error("has a look-around, which is not supported");
    if (this.#take("?<")) while (!this.#take(">")) this.#at++;
    else if (!this.#take("?:") && this.#next === "?") throw new Error("has a group of a kind that is not supported");
    const choices: Pattern[] = [];
    do choices.push(this.#parts(depth + 1));
    while (this.#take("|"));
    if (!this.#take(")")) throw new Error(ANCHOR);
    return { kind: "any", choices };
  }

  /** A lazy quantifier matches the same strings. */
  #repeated(part: Pattern): Pattern {
    const counts = this.#counts();
    if (counts === null) return part;
    this.#take("?");
    const [least, most] = counts;
    for (const count of counts)
      if (Number.isFinite(count) && count > COUNT_MAX) throw new Error(`repeats more than the ${COUNT_MAX} times that are supported`);
    return { kind: "repeat", part, least, most };
  }

  #counts(): readonly [number, number] | null {
    if (this.#take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#take("?")) return [0, 1];
    if (!this.#take("{")) return null;
    const [least = "", most = least] = this.#until("}").split(",");
    return [Number(least), most === "" ? Number.POSITIVE_INFINITY : Number(most)];
  }

  #until(end: string): string {
    const from = this.#at;
    while (this.#next !== end) this.#at++;
    return this.#text.slice(from, this.#at++).join("");
  }

  #class(): readonly Range[] {
    const isNegated = this.#take("^");
    const ranges: Range[] = [];
    while (!this.#take("]")) {
      const first = this.#member();
      const last = this.#next === "-" && this.#text[this.#at + 1] !== "]" && this.#take("-") ? this.#member() : null;
      ranges.push(...(last === null ? first : ([[first[0]![0], last[0]![0]]] as const)));
    }
    return isNegated ? without(ranges) : within(ranges);
  }

  #member(): readonly Range[] {
    return this.#take("\\") ? this.#escape(true) : one(this.#text[this.#at++]!.codePointAt(0)!);
  }

  #escape(inClass: boolean): readonly Range[] {
    const sign = this.#text[this.#at++]!;
    if (sign === "b" && inClass) return one(8);
    if (/[bBkpP1-9]/.test(sign)) throw new Error(`has \\${sign}, which is not supported`);
    const ranges = CLASSES[sign.toLowerCase()];
    if (ranges !== undefined) return sign === sign.toLowerCase() ? ranges : without(ranges);
    return one(CONTROLS[sign] ?? this.#number(sign));
  }

  #number(sign: string): number {
    if (sign === "c") return this.#text[this.#at++]!.charCodeAt(0) & 31;
    if (sign === "x") return this.#hex(2);
    if (sign !== "u") return sign.codePointAt(0)!;
    if (this.#take("{")) return Number.parseInt(this.#until("}"), 16);
    const code = this.#hex(4);
    const [, low] = code >> 10 === 0x36 ? (/^\\u(d[c-f]..)/i.exec(this.#text.slice(this.#at, this.#at + 6).join("")) ?? []) : [];
    if (low === undefined) return code;
    this.#at += 6;
    return String.fromCharCode(code, Number.parseInt(low, 16)).codePointAt(0)!;
  }

  #hex(digits: number): number {
    this.#at += digits;
    return Number.parseInt(this.#text.slice(this.#at - digits, this.#at).join(""), 16);
  }
}

const ANCHOR = "has ^ or $ elsewhere than at the beginning and end of it or of one of its choices, which is not supported";

const one = (code: number): readonly Range[] => [[code, code]];

function without(ranges: readonly Range[]): readonly Range[] {
  let from = 0;
  const others: Range[] = [];
  for (const [first, last] of within(ranges)) {
    if (first > from) others.push([from, first - 1]);
    from = last + 1;
  }
  return within([...others, ...(from <= 0x10ffff ? [[from, 0x10ffff] as const] : [])]);
}

const LINE_ENDS: readonly Range[] = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, "0": 0 };
const CLASSES: Readonly<Record<string, readonly Range[]>> = {
  d: [[0x30, 0x39]],
  w: [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ],
  s: [
    [9, 13],
    [0x20, 0x20],
    [0xa0, 0xa0],
    [0x1680, 0x1680],
    [0x2000, 0x200a],
    [0x2028, 0x2029],
    [0x202f, 0x202f],
    [0x205f, 0x205f],
    [0x3000, 0x3000],
    [0xfeff, 0xfeff],
  ],
};
