/** Code points from the first to the last. */
export type Range = readonly [first: number, last: number];

/** All but surrogates, of which no UTF-8 is made. */
export const EVERY: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
];

/**
 * An expression of the library's grammar for one character of `ranges` (in order, apart from each other) inside a string, which json.dumps
 * spells in one way. In bytes: the library's classes are sets of bytes, those that leave something out let malformed UTF-8 pass, and it
 * takes what goes beyond a byte for something else.
 */
export function spelled(ranges: readonly Range[]): string {
  const escaped = ESCAPED.filter(({ code }) => ranges.some(([first, last]) => code >= first && code <= last));
  const plain = ranges.flatMap((range) => PLAIN.flatMap((bounds) => common(range, bounds)));
  const ascii = plain.filter(([, last]) => last < 0x80);
  const beyond = plain.filter(([, last]) => last >= 0x80).flatMap(([first, last]) => sequences(first, last));
  return [
    ...(ascii.length === 0 ? [] : [bytesOf(ascii)]),
    ...beyond.map((bytes) => bytes.map((byte) => bytesOf([byte])).join(" ")),
    ...byBeginning(escaped),
  ].join(" | ");
}

/** As json.dumps does with them: the last letter may be any of those with the same beginning. */
function byBeginning(escaped: typeof ESCAPED): string[] {
  const beginnings = new Map<string, Range[]>();
  for (const { text } of escaped) {
    const last = text.charCodeAt(text.length - 1);
    beginnings.set(text.slice(0, -1), [...(beginnings.get(text.slice(0, -1)) ?? []), [last, last]]);
  }
  return [...beginnings].map(([beginning, letters]) => `"${beginning.replace("\\", "\\\\")}" ${bytesOf(letters)}`);
}

/** Control characters, quote and backslash. */
const ESCAPED = [...Array(0x20).keys(), 0x22, 0x5c].map((code) => ({ code, text: JSON.stringify(String.fromCharCode(code)).slice(1, -1) }));

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
