/** Code points from the first to the last. */
export type Range = readonly [first: number, last: number];

/** All code points but surrogates, which have no UTF-8 form. */
export const EVERY: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** UTF-8 forms of the characters of `range`, as sequences of byte ranges. Each character is in exactly one. */
export const encoded = (range: Range): Range[][] =>
  range[1] <= 0x7f ? [[range]] : LENGTHS.flatMap((bounds) => common(range, bounds).flatMap(([first, last]) => sequences(first, last)));

/** The same inside a JSON string, as json.dumps spells it. */
export function spelled(range: Range): Range[][] {
  const escaped = ESCAPED.filter(({ code }) => code >= range[0] && code <= range[1]);
  return [...PLAIN.flatMap((bounds) => common(range, bounds)).flatMap(encoded), ...escaped.map(({ bytes }) => bytes)];
}

/** Control characters, quote and backslash. */
const ESCAPED = [...Array(0x20).keys(), 0x22, 0x5c].map((code) => {
  const text = JSON.stringify(String.fromCharCode(code)).slice(1, -1);
  return { code, bytes: [...Buffer.from(text)].map((byte): Range => [byte, byte]) };
});

/** All other characters. */
export const PLAIN: readonly Range[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** Characters by the length of their UTF-8 form. */
const LENGTHS: readonly Range[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
];

export function common([a, b]: Range, [c, d]: Range): Range[] {
  const [first, last] = [Math.max(a, c), Math.min(b, d)];
  return first <= last ? [[first, last]] : [];
}

/** Sorted, disjoint, not adjacent, and without surrogates. */
export function within(ranges: readonly Range[]): readonly Range[] {
  const merged: Array<[number, number]> = [];
  for (const [first, last] of [...ranges].sort(([a], [b]) => a - b)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else merged.push([first, last]);
  }
  return merged.flatMap((range) => EVERY.flatMap((all) => common(range, all)));
}

/** Characters with UTF-8 forms of one length, as sequences of that many byte ranges. */
function sequences(first: number, last: number): Range[][] {
  for (const bits of [6, 12, 18]) {
    const low = (1 << bits) - 1;
    if (first >> bits === last >> bits) break;
    if ((first & low) !== 0) return [...sequences(first, first | low), ...sequences((first | low) + 1, last)];
    if ((last & low) !== low) return [...sequences(first, (last & ~low) - 1), ...sequences(last & ~low, last)];
  }
  const end = Buffer.from(String.fromCodePoint(last));
  return [[...Buffer.from(String.fromCodePoint(first))].map((byte, i) => [byte, end[i]!])];
}
