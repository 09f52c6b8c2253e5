/**
 * Whole numbers from `least` to `most`, either of which may be infinite, as they are written in decimal: expressions of the library's grammar, of
 * which each number has one. Some thirty for each sign at most, since one stands for all numbers of its length behind a beginning.
 */
export function writtenRange(least: number, most: number): string[] {
  const below = least < 0 ? naturals(Math.max(1, -most), -least).map((digits) => `"-" ${digits}`) : [];
  return most < 0 ? below : [...below, ...naturals(Math.max(0, least), most)];
}

/** Least and most by their length: the shortest and the longest may begin or end within it, all lengths between are whole. */
export function naturals(least: number | bigint, most: number | bigint): string[] {
  const first = String(least);
  const last = most === Number.POSITIVE_INFINITY ? null : String(most);
  if (first.length === last?.length) return ofOneLength("", first, last);
  const shortest = ofOneLength("", first, "9".repeat(first.length));
  if (last === null) return [...shortest, `[1-9] ${anyDigits(first.length)} [0-9]*`];
  const between = last.length - 2 >= first.length ? [`[1-9] [0-9]{${first.length},${last.length - 2}}`] : [];
  return [...shortest, ...between, ...ofOneLength("", `1${"0".repeat(last.length - 1)}`, last)];
}

/** `begun` and then from `first` to `last`, which are as long as each other. */
function ofOneLength(begun: string, first: string, last: string): string[] {
  if (first === last) return [`"${begun}${first}"`];
  const [a, b] = [Number(first[0]), Number(last[0])];
  const [afterA, afterB] = [first.slice(1), last.slice(1)];
  if (a === b) return ofOneLength(begun + a, afterA, afterB);
  const [low, high] = [/^0*$/.test(afterA) ? a : a + 1, /^9*$/.test(afterB) ? b : b - 1];
  return [
    ...(low === a ? [] : ofOneLength(begun + a, afterA, "9".repeat(afterA.length))),
    ...(low > high ? [] : [`${begun === "" ? "" : `"${begun}" `}[${low}-${high}] ${anyDigits(afterA.length)}`]),
    ...(high === b ? [] : ofOneLength(begun + b, "0".repeat(afterB.length), afterB)),
  ];
}

const anyDigits = (count: number): string => (count === 0 ? "" : `[0-9]{${count}}`);
