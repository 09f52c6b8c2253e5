import { all, type Expression, literal, oneOf, repeated } from "./expression.ts";

/**
 * Whole numbers from `least` to `most`, either of which may be infinite, as they are
 * written in decimal: expressions, exactly one of which matches each number. At most
 * some thirty for each sign, since one covers all numbers of its length after a prefix.
 */
export function writtenRange(least: number, most: number): Expression[] {
  const below = least < 0 ? naturals(Math.max(1, -most), -least).map((digits) => all(literal("-"), digits)) : [];
  return most < 0 ? below : [...below, ...naturals(Math.max(0, least), most)];
}

/** By length: the shortest and the longest numbers are bounded, all lengths between are complete. */
export function naturals(least: number | bigint, most: number | bigint): Expression[] {
  const first = String(least);
  const last = most === Number.POSITIVE_INFINITY ? null : String(most);
  if (first.length === last?.length) return ofOneLength("", first, last);
  const shortest = ofOneLength("", first, "9".repeat(first.length));
  if (last === null) return [...shortest, all(digitFrom(1, 9), digits(first.length, Number.POSITIVE_INFINITY))];
  const between = last.length - 2 >= first.length ? [all(digitFrom(1, 9), digits(first.length, last.length - 2))] : [];
  return [...shortest, ...between, ...ofOneLength("", `1${"0".repeat(last.length - 1)}`, last)];
}

/** `begun`, then digits from `first` to `last`, which have the same length. */
function ofOneLength(begun: string, first: string, last: string): Expression[] {
  if (first === last) return [literal(`${begun}${first}`)];
  const [a, b] = [Number(first[0]), Number(last[0])];
  const [afterA, afterB] = [first.slice(1), last.slice(1)];
  if (a === b) return ofOneLength(begun + a, afterA, afterB);
  const [low, high] = [/^0*$/.test(afterA) ? a : a + 1, /^9*$/.test(afterB) ? b : b - 1];
  return [
    ...(low === a ? [] : ofOneLength(begun + a, afterA, "9".repeat(afterA.length))),
    ...(low > high ? [] : [all(literal(begun), digitFrom(low, high), digits(afterA.length))]),
    ...(high === b ? [] : ofOneLength(begun + b, "0".repeat(afterB.length), afterB)),
  ];
}

const ZERO = 0x30;
export const digitFrom = (low: number, high: number): Expression => oneOf([ZERO + low, ZERO + high]);
export const digits = (least: number, most = least): Expression => repeated(digitFrom(0, 9), least, most);
