import { type Automaton, automatonOf, both, smallest } from "./automaton.ts";
import { EVERY, spelled } from "./characters.ts";
import type { Literals } from "./literals.ts";
import { type Pattern, readPattern } from "./pattern-syntax.ts";
import { type At, formatOf, type Keywords, refusedAt } from "./schema-forms.ts";
import { textLengthsOf } from "./text-lengths.ts";

/** Of a string with a pattern, whose characters are counted one by one. */
const LENGTH_MAX = 400;

/** What a string is held to by its `pattern`, and by `format` and lengths beside it. `key`: the same for all that say the same. */
export function patternOf(schema: Keywords, at: At): { readonly key: string; readonly automaton: () => Automaton } {
  const { pattern } = schema;
  if (typeof pattern !== "string") throw refusedAt(at("pattern"), "must be a string");
  const { least, most } = textLengthsOf(schema, at);
  for (const [key, limit] of [
    ["minLength", least],
    ["maxLength", most],
  ] as const)
    if (limit > LENGTH_MAX && Number.isFinite(limit)) throw refusedAt(at(key), `beside a pattern must be ${LENGTH_MAX} or less`);
  const format = isNamed(schema.format) ? undefined : formatOf(schema, at).format;
  const length: Pattern | null =
    least === 0 && most === Number.POSITIVE_INFINITY ? null : { kind: "repeat", part: { kind: "set", ranges: EVERY }, least, most };
  const automaton = () => {
    const texts = [REGULAR.get(pattern) ?? pattern, ...(format === undefined ? [] : [FORMATS[format]!])];
    try {
      const held = [...texts.map(readPattern), ...(length === null ? [] : [length])].map((one) => smallest(automatonOf(one)));
      const whole = held.reduce((a, b) => (a === null || b === null ? null : smallest(both(a, b))));
      if (whole !== null) return whole;
    } catch (error) {
      throw refusedAt(at("pattern"), (error as Error).message);
    }
    throw refusedAt(at("pattern"), "leaves no string that can be answered");
  };
  return { key: JSON.stringify([pattern, format, least, String(most)]), automaton };
}

/** A rule for each state. */
export function writeAutomaton(states: Automaton, name: string, literals: Literals): void {
  for (const [i, { accepts, steps }] of states.entries()) {
    const ways = spelled(steps.map(({ ranges, to }) => ({ ranges, to: `${name}_${to}` })));
    literals.rule(`${name}_${i}`, [...(ways === "" ? [] : [ways]), ...(accepts ? ['"\\""'] : [])].join(" | "));
  }
}

/** zod's names for what is said by the pattern beside them, and by nothing else. */
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
const ATOM = "[A-Za-z0-9_!#$%&'*+/=?^`{|}~-]+";
const SHORT = "[0-9a-fA-F]{1,4}";
const shortened = Array.from({ length: 7 }, (_, i) => `(${SHORT}:){1,${i + 1}}${i === 6 ? ":" : `(:${SHORT}){1,${6 - i}}`}`);

/** The formats, as far as they are answered beside a pattern: within what each stands for. */
const FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  "date-time": `^${DATE}T${TIME}$`,
  duration: `^P(${DAYS}(${HOURS})?|${HOURS}|\\d+W)$`,
  email: `^${ATOM}(\\.${ATOM})*@${NAME}(\\.${NAME})*$`,
  hostname: `^${NAME}(\\.${NAME})*$`,
  ipv4: `^(${BYTE}\\.){3}${BYTE}$`,
  ipv6: `^((${SHORT}:){7}${SHORT}|${shortened.join("|")}|:((:${SHORT}){1,7}|:))$`,
  uuid: "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
};

/** What is answered to patterns that look ahead, as libraries write them: zod of a duration, pydantic of a `Decimal`. Within them. */
const REGULAR: ReadonlyMap<string, string> = new Map([
  ["^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$", FORMATS.duration!],
  ["^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", "^[+-]?(\\d+\\.?\\d*|\\.\\d+)$"],
]);
