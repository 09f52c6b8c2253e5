import { type Automaton, automatonOf, both, type Effort } from "./automaton.ts";
import { textLengthsOf } from "./lengths.ts";
import { ANYTHING, readPattern } from "./pattern-syntax.ts";
import { type At, formatOf, type Keywords, refusedAt } from "./schema-forms.ts";
import { smallest } from "./smallest.ts";
import { Text } from "./text.ts";

/** States times counts of characters: half a megabyte of bits, and a tenth of a second at worst. */
const COUNTED_MAX = 4_000_000;

interface HeldText {
  /** Equal for equal constraints. */
  readonly key: string;
  /** The place of one of the keywords, for messages. */
  readonly place: string;
  readonly text: (effort: Effort) => Text;
}

/** What pattern, format and lengths hold a string to; null: nothing. */
export function heldText(schema: Keywords, at: At): HeldText | null {
  const { pattern } = schema;
  if (pattern !== undefined && typeof pattern !== "string") throw refusedAt(at("pattern"), "must be a string");
  const lengths = textLengthsOf(schema, at);
  const format = pattern !== undefined && isNamed(schema.format) ? undefined : formatOf(schema, at).format;
  const isBounded = lengths.least > 0 || lengths.most < Number.POSITIVE_INFINITY;
  if (pattern === undefined && format === undefined && !isBounded) return null;
  const place = at(["pattern", "format", "maxLength", "minLength"].find((key) => schema[key] !== undefined)!);
  const text = (effort: Effort) => {
    const automaton = automatonOfAll(
      [...(pattern === undefined ? [] : [pattern]), ...(format === undefined ? [] : [FORMATS[format]!])],
      effort,
    );
    const counts = Number.isFinite(lengths.most) ? lengths.most : lengths.least;
    if (automaton !== null && automaton.length * counts > COUNTED_MAX)
      throw new Error(
        `has ${automaton.length} states, which times ${counts} characters is more than the ${COUNTED_MAX} that are supported`,
      );
    const made = automaton === null ? null : new Text(automaton, lengths);
    if (made?.isMeetable !== true) throw new Error("leaves no string that can be answered");
    return made;
  };
  const named = (effort: Effort) => {
    try {
      return text(effort);
    } catch (error) {
      throw refusedAt(place, (error as Error).message);
    }
  };
  return { key: JSON.stringify([pattern, format, lengths.least, String(lengths.most)]), place, text: named };
}

/** The intersection of these patterns; null: it is empty. */
const automatonOfAll = (patterns: readonly string[], effort: Effort): Automaton | null =>
  patterns
    .map((text) => readPattern(REGULAR.get(text) ?? text))
    .map((pattern) => smallest(automatonOf(pattern, effort), effort))
    .reduce((a, b) => (a === null || b === null ? null : smallest(both(a, b), effort)), smallest(automatonOf(ANYTHING, effort), effort));

/** zod's format names for what the pattern beside them says, and nothing else does. */
const isNamed = (format: unknown): boolean => typeof format === "string" && NAMES.has(format);
const NAMES: ReadonlySet<string> = new Set([
  ..."starts_with ends_with includes lowercase uppercase nanoid cuid cuid2 ulid xid ksuid cidrv4 cidrv6 e164 hex mac".split(" "),
  ..."md5_hex sha1_hex sha256_hex sha384_hex sha512_hex".split(" "),
]);

const DATE = "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])";
const TIME = "([01]\\d|2[0-3]):[0-5]\\d:([0-5]\\d|60)(\\.\\d+)?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)";
const DAYS = "(\\d+D|\\d+M(\\d+D)?|\\d+Y(\\d+M(\\d+D)?)?)";
const HOURS = "T(\\d+S|\\d+M(\\d+S)?|\\d+H(\\d+M(\\d+S)?)?)";
const NAME = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
const BYTE = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const V4 = `(${BYTE}\\.){3}${BYTE}`;
const ATOM = "[A-Za-z0-9_!#$%&'*+/=?^`{|}~-]+";
const SHORT = "[0-9a-fA-F]{1,4}";
const shortened = Array.from({ length: 7 }, (_, i) => `(${SHORT}:){1,${i + 1}}${i === 6 ? ":" : `(:${SHORT}){1,${6 - i}}`}`);

/** Formats by form only. */
const FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  "date-time": `^${DATE}T${TIME}$`,
  duration: `^P(${DAYS}(${HOURS})?|${HOURS}|\\d+W)$`,
  email: `^(${ATOM}(\\.${ATOM})*|"(\\\\[ -~]|[ !#-[\\]-~])*")@${NAME}(\\.${NAME})*$`,
  hostname: `^${NAME}(\\.${NAME})*$`,
  ipv4: `^${V4}$`,
  ipv6: `^((${SHORT}:){7}${SHORT}|${shortened.join("|")}|:((:${SHORT}){1,7}|:)|::(ffff(:0{1,4})?:)?${V4}|(${SHORT}:){1,4}:${V4})$`,
  uuid: "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
};

/**
 * Substitutes for patterns with lookahead as libraries write them:
 * zod for a duration, pydantic for a `Decimal`. Each accepts a subset.
 */
const REGULAR: ReadonlyMap<string, string> = new Map([
  ["^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$", FORMATS.duration!],
  ["^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", "^[+-]?(\\d+\\.?\\d*|\\.\\d+)$"],
]);
