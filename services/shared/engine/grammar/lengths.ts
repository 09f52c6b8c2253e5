import { numberOf } from "./numbers.ts";
import { type At, type Keywords, refusedAt } from "./schema-forms.ts";

const CHARACTERS_MAX = 10_000;
const ITEMS_MAX = 1_000;

/** Bounds on the characters of a string, or on the items of an array. */
export interface Lengths {
  readonly least: number;
  /** Infinity: no bound. */
  readonly most: number;
}

export const textLengthsOf = (schema: Keywords, at: At): Lengths => lengthsOf(schema, ["minLength", "maxLength"], CHARACTERS_MAX, at);
export const itemLengthsOf = (schema: Keywords, at: At): Lengths => lengthsOf(schema, ["minItems", "maxItems"], ITEMS_MAX, at);

function lengthsOf(schema: Keywords, [leastKey, mostKey]: readonly [string, string], max: number, at: At): Lengths {
  const lengthOf = (key: string, absent: number) => {
    const value = schema[key];
    if (value === undefined) return absent;
    const length = numberOf(value);
    if (!(Number.isInteger(length) && length >= 0 && length <= max)) throw refusedAt(at(key), `must be a whole number up to ${max}`);
    return length;
  };
  const [least, most] = [lengthOf(leastKey, 0), lengthOf(mostKey, Number.POSITIVE_INFINITY)];
  if (least > most) throw refusedAt(at(leastKey), `is more than ${mostKey}`);
  return { least, most };
}
