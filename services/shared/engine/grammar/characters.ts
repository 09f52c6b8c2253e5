/** Code points from the first to the last. */
export type Range = readonly [first: number, last: number];

/** All but surrogates, of which no UTF-8 is made. */
export const EVERY: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];

/** One of these characters, and what comes behind it. */
export interface Step {
  readonly ranges: readonly Range[];
  /** A rule. */
  readonly to: string;
}

/**
 * An expression of the library's grammar for one of these steps inside a string, whose characters json.dumps spells in one way each. No two
 * steps have a character in common. In bytes: the library's classes are sets of bytes, those that leave something out let malformed UTF-8
 * pass, and it takes what goes beyond a byte for something else. Each byte leads one way, since the library confuses ways that begin alike.
 */
export const spelled = (steps: readonly Step[]): string =>
  ways(steps.flatMap(({ ranges, to }) => ranges.flatMap((range) => spellings(range).map((bytes) => ({ bytes, to })))));

interface Way {
  readonly bytes: readonly Range[];
  readonly to: string;
}

/** By the first byte. Ranges of first bytes are the same or apart, because one of several bytes is followed by all there are. */
function ways(all: readonly Way[]): string {
  const behind = new Map<string, { readonly first: Range; readonly ways: Way[] }>();
  for (const { bytes, to } of all) {
    const [first, ...bytesBehind] = bytes as [Range, ...Range[]];
    const known = behind.get(String(first)) ?? { first, ways: [] };
    known.ways.push({ bytes: bytesBehind, to });
    behind.set(String(first), known);
  }
  const firsts = new Map<string, Range[]>();
  for (const { first, ways: those } of behind.values()) {
    const then = those[0]!.bytes.length === 0 ? those[0]!.to : `( ${ways(those)} )`;
    firsts.set(then, [...(firsts.get(then) ?? []), first]);
  }
  return [...firsts].map(([then, ranges]) => `${bytesOf(ranges)} ${then}`).join(" | ");
}

function spellings(range: Range): Range[][] {
  const escaped = ESCAPED.filter(({ code }) => code >= range[0] && code <= range[1]);
  const plain = PLAIN.flatMap((bounds) => common(range, bounds));
  return [...plain.flatMap(([first, last]) => sequences(first, last)), ...escaped.map(({ bytes }) => bytes)];
}

/** Control characters, quote and backslash. */
const ESCAPED = [...Array(0x20).keys(), 0x22, 0x5c].map((code) => {
  const text = JSON.stringify(String.fromCharCode(code)).slice(1, -1);
  return { code, bytes: [...Buffer.from(text)].map((byte): Range => [byte, byte]) };
});

/** The others, parted where UTF-8 gets longer. */
const PLAIN: readonly Range[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0x7f],
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

/** Twice, because of a class of one byte the library makes a string, and of a byte beyond ASCII the character of that number. */
const bytesOf = (ranges: readonly Range[]): string => {
  const bytes = ranges.map(([first, last]) => (first === last ? hex(first) : `${hex(first)}-${hex(last)}`)).join("");
  return ranges.length === 1 && ranges[0]![0] === ranges[0]![1] ? `[${bytes}${bytes}]` : `[${bytes}]`;
};
const hex = (byte: number): string => `\\x${byte.toString(16).padStart(2, "0")}`;
