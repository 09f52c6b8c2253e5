import { all, any, type Expression, literal, maybe } from "./expression.ts";
import { boundIn, numberOf } from "./numbers.ts";
import { digitFrom, digits, naturals } from "./ranges.ts";
import { type At, BOUNDS, type Keywords, refusedAt } from "./schema-forms.ts";

/**
 * Digits after the point: as many as any double between a tenth and one needs. Values are counted in units of the last.
 */
const DIGITS = 17;
const ONE = 10n ** BigInt(DIGITS);
/** json.dumps writes larger numbers with an exponent, which bounded numbers do not have here. */
const LARGEST = 10n ** 16n * ONE - 1n;

/** The numbers allowed, both ends included, in units of 1 / ONE. */
interface Decimals {
  readonly least: bigint;
  readonly most: bigint;
}

/**
 * A reader rounds a number to a double, and rounding keeps the order: what is written at or above a bound is read at or
 * above it. So what must lie above a bound must lie at or above the next double.
 */
export function decimalsOf(schema: Keywords, at: At): Decimals {
  const [minimum, maximum, above, below] = BOUNDS.map((key) => boundOf(schema, key, at));
  const least = [-LARGEST, ceiling(minimum), ceiling(above === undefined ? undefined : next(above))].reduce((a, b) => (a > b ? a : b));
  const most = [LARGEST, floor(maximum), floor(below === undefined ? undefined : -next(-below))].reduce((a, b) => (a < b ? a : b));
  if (least > most)
    throw refusedAt(
      at(boundIn(schema)),
      `leaves no number within the bounds that has at most 16 digits before the point and ${DIGITS} behind it`,
    );
  return { least, most };
}

function boundOf(schema: Keywords, key: string, at: At): number | undefined {
  const value = schema[key];
  if (value === undefined) return undefined;
  if (!Number.isFinite(numberOf(value))) throw refusedAt(at(key), "must be a number that a double holds");
  return numberOf(value);
}

/** The next double above. */
function next(value: number): number {
  if (value === 0) return Number.MIN_VALUE;
  const bits = new BigInt64Array(Float64Array.of(value).buffer);
  bits[0]! += value > 0 ? 1n : -1n;
  return new Float64Array(bits.buffer)[0]!;
}

const floor = (value: number | undefined): bigint => (value === undefined ? LARGEST : -ceiling(-value));

/** Rounds a double up to units of 1 / ONE, from its shortest decimal form, which is read as this double. */
function ceiling(value: number | undefined): bigint {
  if (value === undefined || value === Number.NEGATIVE_INFINITY) return -LARGEST;
  if (value === Number.POSITIVE_INFINITY) return LARGEST + 1n;
  const [, sign, whole, part = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:e(.+))?$/.exec(String(value))!;
  const digits = BigInt(`${sign}${whole}${part}`);
  const shift = Number(exponent) - part.length + DIGITS;
  if (shift >= 0) return digits * 10n ** BigInt(shift);
  const divisor = 10n ** BigInt(-shift);
  return digits / divisor + (digits > 0n && digits % divisor !== 0n ? 1n : 0n);
}

/** Expressions for these numbers: whole ones, and those with digits after a point, zeros included. Zero has no sign. */
export function writtenDecimals({ least, most }: Decimals): Expression[] {
  const below = least < 0n ? magnitudes(most < 0n ? -most : 1n, -least).map((written) => all(literal("-"), written)) : [];
  return most < 0n ? below : [...below, ...magnitudes(least > 0n ? least : 0n, most)];
}

/** Split by whole part: the fractions of the first and the last are bounded, those between are free. */
function magnitudes(least: bigint, most: bigint): Expression[] {
  const [first, last] = [least / ONE, most / ONE];
  const [low, high] = [digitsOf(least % ONE), digitsOf(most % ONE)];
  if (first === last) return [all(literal(String(first)), fraction(low, high))];
  const [from, to] = [low === ZEROS ? first : first + 1n, high === NINES ? last : last - 1n];
  return [
    ...(from === first ? [] : [all(literal(String(first)), fraction(low, NINES))]),
    ...(from > to ? [] : naturals(from, to).map((whole) => all(whole, fraction(ZEROS, NINES)))),
    ...(to === last ? [] : [all(literal(String(last)), fraction(ZEROS, high))]),
  ];
}

const digitsOf = (part: bigint): string => String(part).padStart(DIGITS, "0");
const ZEROS = "0".repeat(DIGITS);
const NINES = "9".repeat(DIGITS);

/** A point and digits that stand for `low` to `high`; nothing at all stands for zeros. */
function fraction(low: string, high: string): Expression {
  const written = all(literal("."), atLeastOne(low, high));
  return low === ZEROS ? maybe(written) : written;
}

/** Digits, at most `low.length`, that stand for `low` to `high` when zeros are appended. Split by the first digit. */
function atLeastOne(low: string, high: string): Expression {
  const [a, b] = [Number(low[0]), Number(high[0])];
  const [zeros, nines] = ["0".repeat(low.length - 1), "9".repeat(low.length - 1)];
  const beginning = (digit: number, from: string, to: string) => all(digitFrom(digit, digit), rest(from, to));
  if (a === b) return beginning(a, low.slice(1), high.slice(1));
  const [from, to] = [low.slice(1) === zeros ? a : a + 1, high.slice(1) === nines ? b : b - 1];
  return any(
    ...(from === a ? [] : [beginning(a, low.slice(1), nines)]),
    ...(from > to ? [] : [all(digitFrom(from, to), rest(zeros, nines))]),
    ...(to === b ? [] : [beginning(b, zeros, high.slice(1))]),
  );
}

/** As `atLeastOne`, or no digits where these may all be zeros. */
function rest(low: string, high: string): Expression {
  if (low === "") return all();
  if (/^0+$/.test(low)) return /^9+$/.test(high) ? digits(0, low.length) : maybe(atLeastOne(low, high));
  return atLeastOne(low, high);
}
