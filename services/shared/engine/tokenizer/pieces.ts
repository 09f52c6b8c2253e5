import { refusal } from "../../runtime/errors.ts";
import type { TokenizerFile } from "./files.ts";

/** Characters of a piece: at most 30 ms of native work, and ids that reach JavaScript in a few milliseconds. */
const PIECE_CHARS = 32_768;

/**
 * The longest stretch without a place to cut, in characters.
 * Its ids come back in one call, which this bound keeps near 50 ms at worst.
 */
const UNBROKEN_CHARS = 262_144;

/**
 * Splits a text into pieces whose tokens, joined, are the tokens of the text. It cuts
 * only where the pre-tokenizer of the V4 family (spec 5.1) always ends one word and
 * starts the next, whatever surrounds it; for another pre-tokenizer the text stays whole.
 */
export function cutter(file: TokenizerFile, pieceChars = PIECE_CHARS): (text: string) => Iterable<string> {
  if (!isV4(file)) return (text) => [text];
  const added = (file.added_tokens ?? []).map((token) => token.content).filter(holdsCut);
  return (text) => pieces(text, added, pieceChars);
}

/** Whether `spacedWords` is a lower bound of this tokenizer's token count. */
export const spacesBeginWords = (file: TokenizerFile): boolean =>
  isV4(file) && (file.added_tokens ?? []).every(({ content }) => !content.includes(" "));

/**
 * Counts the words of a text that begin with a space after a visible character: no token spans two of them. Finds most
 * words of prose, at a hundredth of a tokenizer's cost.
 */
export function spacedWords(text: string): number {
  let words = 0;
  for (let at = text.indexOf(" ", 1); at > 0; at = text.indexOf(" ", at + 1)) if (isVisible(text.charCodeAt(at - 1))) words++;
  return words;
}

/** Whether `unit` is certainly not white space, in any reading of Unicode. */
const isVisible = (unit: number): boolean =>
  (unit > 0x20 && unit < 0x7f) || (unit > 0xa0 && unit < 0x1680) || (unit > 0x3000 && unit < 0xfe00);

function* pieces(text: string, added: readonly string[], pieceChars: number): Generator<string> {
  let start = 0;
  while (text.length - start > pieceChars) {
    const end = nextCut(text, start + pieceChars, added);
    requireBroken(end - start - pieceChars);
    yield text.slice(start, end);
    start = end;
  }
  if (start < text.length) yield text.slice(start);
}

/**
 * No word of the pre-tokenizer spans any of these places: a letter and then ASCII that is no letter · a digit and then
 * ASCII that is no digit · the end of a run of Han or kana · a line feed and then visible ASCII.
 */
const CUT = /(?<=\p{L})(?=[\0-@[-`{-\x7f])|(?<=[0-9])(?=[\0-/:-\x7f])|(?<=[一-龥぀-ヿ])(?=[^一-龥぀-ヿ])|(?<=\n)(?=[!-~])/gu;

/** Whether a token has a place to cut inside. The two characters around a place decide. */
const holdsCut = (token: string): boolean => token.search(CUT) !== -1;

/**
 * The first place from `from` on that is inside none of `added`, or the first beyond UNBROKEN_CHARS, wherever it is.
 */
function nextCut(text: string, from: number, added: readonly string[]): number {
  const cut = new RegExp(CUT);
  cut.lastIndex = outsidePair(text, from);
  for (;;) {
    const found = cut.exec(text);
    if (found === null) return text.length;
    if (found.index - from > UNBROKEN_CHARS) return found.index;
    if (!added.some((token) => text.slice(Math.max(0, found.index - token.length + 1), found.index + token.length - 1).includes(token)))
      return found.index;
    cut.lastIndex = outsidePair(text, found.index + 1);
  }
}

/** Starting inside a surrogate pair, the search would step back and find the same place again. */
const outsidePair = (text: string, at: number): number => (/[\uDC00-\uDFFF]/.test(text.charAt(at)) ? at + 1 : at);

function requireBroken(chars: number): void {
  if (chars <= UNBROKEN_CHARS) return;
  const why = `text has a stretch of more than ${UNBROKEN_CHARS} characters without a space, a line end or a change of script: break it up`;
  throw refusal(why);
}

const V4_PATTERNS = [
  String.raw`\p{N}{1,3}`,
  "[一-龥\u3040-ゟ゠-ヿ]+",
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
];

/**
 * No normalizer, the three isolating splits of spec 5.1, then bytes; no added token that swallows the blanks after it.
 */
function isV4(file: TokenizerFile): boolean {
  const steps = (file.pre_tokenizer as PreTokenizer | null | undefined)?.pretokenizers ?? [];
  const splits = steps
    .slice(0, 3)
    .map((step) => (step.type === "Split" && step.behavior === "Isolated" && !step.invert ? step.pattern?.Regex : null));
  const bytes = steps[3];
  return (
    (file.normalizer ?? null) === null &&
    steps.length === 4 &&
    V4_PATTERNS.every((pattern, i) => splits[i] === pattern) &&
    bytes?.type === "ByteLevel" &&
    bytes.add_prefix_space === false &&
    bytes.use_regex === false &&
    (file.added_tokens ?? []).every((token) => !token.rstrip)
  );
}

interface PreTokenizer {
  readonly pretokenizers?: readonly {
    readonly type: string;
    readonly behavior?: string;
    readonly invert?: boolean;
    readonly pattern?: { readonly Regex?: string };
    readonly add_prefix_space?: boolean;
    readonly use_regex?: boolean;
  }[];
}
