import { refusal } from "../../runtime/errors.ts";

/**
 * JSON as Python's `json` reads and prints it, because the models were trained on that
 * (spec 5.2): numbers keep their form (1.0 stays a float, integers have any size), and
 * keys keep their order. A repeated key keeps its first place and its last value.
 */
export type ExactJson = null | boolean | string | JsonNumber | readonly ExactJson[] | ReadonlyMap<string, ExactJson>;

/** What can be printed: exact values and, for callers that have none, plain objects and numbers (1.0 is then 1). */
export type Printable =
  | ExactJson
  | number
  | bigint
  | readonly Printable[]
  | ReadonlyMap<string, Printable>
  | { readonly [key: string]: Printable };

/** A number as Python prints it. */
export class JsonNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** Python's `json.loads`. Throws SyntaxError with the position. Nesting is bounded by DEPTH_MAX. */
export function readJson(text: string): ExactJson {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

/** Between the parts of a list or an object, and after a key. */
type Separators = readonly [comma: string, colon: string];

/** Python's `json.dumps(value, ensure_ascii=False, separators=separators)`. Throws INVALID_REQUEST for non-JSON. */
export function printJson(value: Printable, separators: Separators = [", ", ": "]): string {
  const [comma, colon] = separators;
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (value instanceof JsonNumber) return value.text;
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return Number.isInteger(value) && !Object.is(value, -0) ? BigInt(value).toString() : printFloat(value);
  if (Array.isArray(value)) return `[${value.map((item) => printJson(item, separators)).join(comma)}]`;
  if (typeof value === "object")
    return `{${entries(value as JsonObject)
      .map(([key, item]) => `${JSON.stringify(key)}${colon}${printJson(item, separators)}`)
      .join(comma)}}`;
  throw refusal(`a value of type ${typeof value} has no JSON form`);
}

export type JsonObject = ReadonlyMap<string, Printable> | { readonly [key: string]: Printable };

export const isObject = (value: Printable | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof JsonNumber);

/** The entries of an object; in a plain object, `undefined` counts as absent. */
export const entries = (object: JsonObject): [string, Printable][] =>
  object instanceof Map ? [...object] : Object.entries(object).filter(([, value]) => value !== undefined);

export const field = (object: JsonObject, key: string): Printable | undefined =>
  object instanceof Map ? object.get(key) : Object.hasOwn(object, key) ? (object as { readonly [key: string]: Printable })[key] : undefined;

/** repr() of a Python float: shortest digits, exponent form below 1e-4 and from 1e16 on. */
export function printFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (Object.is(value, -0)) return "-0.0";
  const [mantissa, power] = value.toExponential().split("e") as [string, string];
  const exponent = Number(power);
  if (value !== 0 && (exponent < -4 || exponent >= 16))
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  const fixed = value.toString(); // from 1e-4 up to 1e16 JavaScript prints the same digits without an exponent
  return fixed.includes(".") ? fixed : `${fixed}.0`;
}

/** Deeper nesting is refused: no tool needs it, and those who read the value later recurse. */
export const DEPTH_MAX = 200;

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): ExactJson {
    if (depth > DEPTH_MAX) this.#fail(`nested deeper than ${DEPTH_MAX}`);
    this.#blank();
    const char = this.#text[this.#at];
    if (char === "{") return this.#object(depth);
    if (char === "[") return this.#array(depth);
    if (char === '"') return this.#string();
    return this.#number() ?? this.#word();
  }

  end(): void {
    this.#blank();
    if (this.#at < this.#text.length) this.#fail("text after the value");
  }

  #object(depth: number): ReadonlyMap<string, ExactJson> {
    const object = new Map<string, ExactJson>();
    this.#at++;
    if (this.#takes("}")) return object;
    do {
      this.#blank();
      const key = this.#string();
      if (!this.#takes(":")) this.#fail("expected ':'");
      object.set(key, this.value(depth + 1));
    } while (this.#takes(","));
    if (!this.#takes("}")) this.#fail("expected ',' or '}'");
    return object;
  }

  #array(depth: number): readonly ExactJson[] {
    const array: ExactJson[] = [];
    this.#at++;
    if (this.#takes("]")) return array;
    do array.push(this.value(depth + 1));
    while (this.#takes(","));
    if (!this.#takes("]")) this.#fail("expected ',' or ']'");
    return array;
  }

  /** Finds the closing quote; the text up to it is also JSON to JavaScript. */
  #string(): string {
    if (this.#text[this.#at] !== '"') this.#fail("expected a string");
    let close = this.#at;
    do close = this.#text.indexOf('"', close + 1);
    while (close > 0 && this.#isEscaped(close));
    if (close < 0) this.#fail("the string does not end");
    const text = this.#text.slice(this.#at, close + 1);
    try {
      const string = JSON.parse(text) as string;
      this.#at = close + 1;
      return string;
    } catch {
      return this.#fail("a string with a bad escape or a control character");
    }
  }

  #isEscaped(at: number): boolean {
    let first = at;
    while (this.#text[first - 1] === "\\") first--;
    return (at - first) % 2 === 1;
  }

  #number(): JsonNumber | null {
    const found = this.#match(NUMBER);
    if (found === null) return null;
    const [text, fraction] = found;
    if (fraction !== "") return new JsonNumber(printFloat(Number(text)));
    return new JsonNumber(text === "-0" ? "0" : text);
  }

  #word(): ExactJson {
    const found = this.#match(WORD)?.[0];
    if (found === undefined) return this.#fail("expected a value");
    return found in CONSTANTS ? CONSTANTS[found as keyof typeof CONSTANTS] : new JsonNumber(found);
  }

  #takes(char: string): boolean {
    this.#blank();
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #blank(): void {
    this.#match(BLANK);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found !== null) this.#at += found[0].length;
    return found;
  }

  #fail(why: string): never {
    throw new SyntaxError(`not JSON at character ${this.#at}: ${why}`);
  }
}

const BLANK = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)/y;
const WORD = /null|true|false|NaN|-?Infinity/y;
const CONSTANTS = { null: null, true: true, false: false } as const;
