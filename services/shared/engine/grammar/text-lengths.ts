import type { ExactJson } from "../chat/python-json.ts";
import { EVERY, spelled } from "./characters.ts";
import type { Literals } from "./literals.ts";
import { numberOf } from "./numbers.ts";
import { type At, type Keywords, refusedAt } from "./schema-forms.ts";

const LENGTH_MAX = 10_000;
/**
 * Characters that are counted one by one; longer strings are made of blocks of these. Counted ones cost time when they are compiled (fifty, with
 * 129,280 tokens: a second), and tokens that reach over a block's end cost some at each step (four milliseconds, thirty at worst). Without blocks
 * a string of up to 500 compiles for half a minute; in the library's own repetition each step takes a quarter of a second.
 */
const BLOCK = 24;

/** How many characters a string may have. */
export interface TextLengths {
  readonly least: number;
  /** Infinity: as many as it likes. */
  readonly most: number;
}

export function textLengthsOf({ minLength, maxLength }: Keywords, at: At): TextLengths {
  const least = lengthOf(minLength, 0, at("minLength"));
  const most = lengthOf(maxLength, Number.POSITIVE_INFINITY, at("maxLength"));
  if (least > most) throw refusedAt(at("minLength"), "is more than maxLength");
  return { least, most };
}

function lengthOf(value: ExactJson | undefined, absent: number, place: string): number {
  if (value === undefined) return absent;
  const length = numberOf(value);
  if (!(Number.isInteger(length) && length >= 0 && length <= LENGTH_MAX))
    throw refusedAt(place, `must be a whole number up to ${LENGTH_MAX}`);
  return length;
}

/** An expression for a string of such a length, its quotes with it; the rules that it needs go to `literals`. All such strings share them. */
export function writtenText({ least, most }: TextLengths, literals: Literals): string {
  const rest = most === Number.POSITIVE_INFINITY ? any(literals) : upTo(most - least, literals);
  return `"\\"" ${exactly(least, literals)} ${rest}`;
}

/** So many characters. */
function exactly(count: number, literals: Literals): string {
  const blocks = Math.floor(count / BLOCK);
  return `${blocks === 0 ? "" : `${exact(BLOCK, literals)}{${blocks}} `}${exact(count % BLOCK, literals)}`;
}

/** At most so many, and the quote: whole blocks with less than one behind them, or all blocks with what is left. */
function upTo(count: number, literals: Literals): string {
  const blocks = Math.floor(count / BLOCK);
  const last = ending(count % BLOCK, literals);
  if (blocks === 0) return last;
  const block = exact(BLOCK, literals);
  return `( ${block}{0,${blocks - 1}} ${ending(BLOCK - 1, literals)} | ${block}{${blocks}} ${last} )`;
}

const character = (to: string): string => spelled([{ ranges: EVERY, to }]);

/** A rule for each number of characters up to a block, which leads to the one before. */
function exact(count: number, literals: Literals): string {
  for (let i = 0; i <= count; i++) literals.rule(`text_of_${i}`, i === 0 ? '""' : character(`text_of_${i - 1}`));
  return `text_of_${count}`;
}

function ending(count: number, literals: Literals): string {
  for (let i = 0; i <= count; i++) literals.rule(`text_to_${i}`, i === 0 ? '"\\""' : `${character(`text_to_${i - 1}`)} | "\\""`);
  return `text_to_${count}`;
}

function any(literals: Literals): string {
  literals.rule("text_any", `${character("text_any")} | "\\""`);
  return "text_any";
}
