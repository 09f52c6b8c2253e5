import type { Range } from "./characters.ts";
import type { Text } from "./text.ts";

/** The texts that a part of an answer may be, in characters as they are written. */
export type Expression =
  | { readonly kind: "set"; readonly ranges: readonly Range[] }
  | { readonly kind: "all"; readonly parts: readonly Expression[] }
  | { readonly kind: "any"; readonly choices: readonly Expression[] }
  | { readonly kind: "repeat"; readonly part: Expression; readonly least: number; readonly most: number }
  | { readonly kind: "rule"; readonly rule: Rule }
  /** A string after its opening quote, the closing quote included. */
  | { readonly kind: "text"; readonly text: Text };

/** An expression that is written once and referred to wherever it occurs, also within itself. */
export class Rule {
  body: Expression = NOTHING;
}

/** Matches no answer at all. */
export const NOTHING: Expression = { kind: "any", choices: [] };

export const all = (...parts: readonly Expression[]): Expression => ({ kind: "all", parts });
export const any = (...choices: readonly Expression[]): Expression => ({ kind: "any", choices });
export const maybe = (part: Expression): Expression => ({ kind: "repeat", part, least: 0, most: 1 });
export const repeated = (part: Expression, least: number, most = Number.POSITIVE_INFINITY): Expression => ({
  kind: "repeat",
  part,
  least,
  most,
});
export const literal = (text: string): Expression => all(...[...text].map((sign) => oneOf([sign.codePointAt(0)!, sign.codePointAt(0)!])));

/** One of these texts, as a prefix tree: texts that begin alike share their beginning. */
export function literals(texts: readonly string[]): Expression {
  const signs = new Map<string, string[]>();
  for (const text of new Set(texts)) {
    const [sign = ""] = text;
    signs.set(sign, [...(signs.get(sign) ?? []), text]);
  }
  return any(...[...signs.values()].map(beginningAlike));
}

function beginningAlike(texts: readonly string[]): Expression {
  const [first, ...others] = texts.map((text) => [...text]) as [string[], ...string[][]];
  if (others.length === 0) return literal(texts[0]!);
  const length = first.findIndex((sign, i) => others.some((other) => other[i] !== sign));
  const shared = (length < 0 ? first : first.slice(0, length)).join("");
  return all(literal(shared), literals(texts.map((text) => text.slice(shared.length))));
}

export const oneOf = (...ranges: readonly Range[]): Expression => ({ kind: "set", ranges });

export function named(body: Expression): Expression {
  const rule = new Rule();
  rule.body = body;
  return { kind: "rule", rule };
}
