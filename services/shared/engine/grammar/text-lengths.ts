import type { ExactJson } from "../chat/python-json.ts";
import { numberOf } from "./numbers.ts";
import { type At, type Keywords, refusedAt } from "./schema-forms.ts";

const LENGTH_MAX = 10_000;
/** How many characters a string may have. */
export interface TextLengths {
  readonly least: number;
  /** Infinity: as many as it likes. */
  readonly most: number;
}

export function textLengthsOf({ minLength, maxLength }: Keywords, at: At): TextLengths {
  const least = lengthOf(minLength, 0, at("minLength"));
  const most = lengthOf(maxLength, Number.POSITIVE_INFINITY, at("maxLength"));
  if (least > most) throw refusedAt(at("minLength"), "is more than maxLength");
  return { least, most };
}

function lengthOf(value: ExactJson | undefined, absent: number, place: string): number {
  if (value === undefined) return absent;
  const length = numberOf(value);
  if (!(Number.isInteger(length) && length >= 0 && length <= LENGTH_MAX))
    throw refusedAt(place, `must be a whole number up to ${LENGTH_MAX}`);
  return length;
}
