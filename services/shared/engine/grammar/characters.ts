/** Code points from the first to the last. */
export type Range = readonly [first: number, last: number];

/** All but surrogates, of which no UTF-8 is made. */
export const EVERY: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** Sequences of ranges of bytes, one of which a character of `range` is written as. In UTF-8, whole and in one way each. */
export const encoded = (range: Range): Range[][] =>
  range[1] <= 0x7f ? [[range]] : LENGTHS.flatMap((bounds) => common(range, bounds).flatMap(([first, last]) => sequences(first, last)));

/** The same inside a string, as json.dumps spells it. */
export function spelled(range: Range): Range[][] {
  const escaped = ESCAPED.filter(({ code }) => code >= range[0] && code <= range[1]);
  return [...PLAIN.flatMap((bounds) => common(range, bounds)).flatMap(encoded), ...escaped.map(({ bytes }) => bytes)];
}

/** Control characters, quote and backslash. */
const ESCAPED = [...Array(0x20).keys(), 0x22, 0x5c].map((code) => {
  const text = JSON.stringify(String.fromCharCode(code)).slice(1, -1);
  return { code, bytes: [...Buffer.from(text)].map((byte): Range => [byte, byte]) };
});

/** The others. */
export const PLAIN: readonly Range[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** Characters of as many bytes in UTF-8 each. */
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

/** In order, apart from each other, and without surrogates. */
export function within(ranges: readonly Range[]): readonly Range[] {
  const merged: Array<[number, number]> = [];
  for (const [first, last] of [...ranges].sort(([a], [b]) => a - b)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else merged.push([first, last]);
  }
  return merged.flatMap((range) => EVERY.flatMap((all) => common(range, all)));
}

/** Code points of one length in UTF-8, as sequences of as many ranges of bytes each. */
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
