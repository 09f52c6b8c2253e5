import { PLAIN } from "./characters.ts";
import { all, any, type Expression, literal, maybe, named, oneOf, Rule, repeated } from "./expression.ts";

/**
 * JSON on one line, with whitespace as Python's json.dumps writes it. A model that may write any amount of whitespace
 * writes nothing else once it has lost its way.
 */
const COMMA = literal(", ");
const COLON = literal(": ");

const digit = oneOf([0x30, 0x39]);
const positive = oneOf([0x31, 0x39]);
const minus = maybe(literal("-"));
const letters = (text: string): Expression => oneOf(...[...text].map((sign) => [sign.charCodeAt(0), sign.charCodeAt(0)] as const));
const hex = oneOf([0x30, 0x39], [0x41, 0x46], [0x61, 0x66]);

const digits = repeated(digit, 1);
const natural = any(literal("0"), all(positive, repeated(digit, 0)));
const escaped = all(literal("\\"), any(letters('"\\/bfnrt'), all(literal("u"), repeated(hex, 4, 4))));

export const STRING = named(all(literal('"'), repeated(any(oneOf(...PLAIN), escaped), 0), literal('"')));
export const INTEGER = named(any(literal("0"), all(minus, positive, repeated(digit, 0))));
export const NUMBER = named(all(minus, natural, maybe(all(literal("."), digits)), maybe(all(letters("eE"), maybe(letters("+-")), digits))));
export const BOOLEAN = named(any(literal("true"), literal("false")));
export const NULL = named(literal("null"));

const anything = new Rule();
export const ANY: Expression = { kind: "rule", rule: anything };
export const ARRAY = named(arrayOf([], ANY, 0, Number.POSITIVE_INFINITY));
export const OBJECT = named(mapOf(ANY));
anything.body = any(NUMBER, STRING, BOOLEAN, NULL, ARRAY, OBJECT);

/** `kinds` come first, as far as the array reaches, then any number of `rest`. */
export function arrayOf(kinds: readonly Expression[], rest: Expression, least: number, most: number): Expression {
  const next = (place: number, item: Expression) => (place === 0 ? item : all(COMMA, item));
  const others = (place: number): Expression => {
    if (place > 0) return repeated(next(place, rest), Math.max(0, least - place), most - place);
    if (most === 0) return all();
    const some = all(rest, repeated(next(1, rest), Math.max(0, least - 1), most - 1));
    return least > 0 ? some : maybe(some);
  };
  const length = Math.min(kinds.length, most);
  let items = others(length);
  for (let place = length - 1; place >= 0; place--) {
    const from = all(next(place, kinds[place]!), items);
    items = place < least ? from : maybe(from);
  }
  return all(literal("["), items, literal("]"));
}

export interface Property {
  /** As printed, quotes included. */
  readonly name: string;
  readonly value: Expression;
  readonly isRequired: boolean;
}

/** Properties in this order; each that is not required may be left out. */
export function objectOf(properties: readonly Property[]): Expression {
  const written = properties.map(({ name, value }) => named(all(literal(name), COLON, value)));
  const firsts: Expression[] = [];
  let rest = literal("}");
  for (const [i, { isRequired }] of [...properties.entries()].reverse()) {
    if (isRequired) firsts.length = 0; // no later one may come first
    firsts.push(all(written[i]!, rest));
    const next = all(COMMA, written[i]!);
    rest = named(all(isRequired ? next : maybe(next), rest));
  }
  const isEmptyToo = properties.every(({ isRequired }) => !isRequired);
  return all(literal("{"), any(...firsts, ...(isEmptyToo ? [literal("}")] : [])));
}

/** An object with any names. */
export function mapOf(value: Expression): Expression {
  const property = named(all(STRING, COLON, value));
  return all(literal("{"), maybe(all(property, repeated(all(COMMA, property), 0))), literal("}"));
}
