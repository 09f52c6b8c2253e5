import { type ExactJson, JsonNumber } from "../chat/python-json.ts";
import { type At, BOUNDS, type Keywords, refusal } from "./schema-forms.ts";

/** How far from each other the least and the most of whole numbers may be: they are written out. */
const RANGE_MAX = 500;

/** NaN: it is none. */
export const numberOf = (value: ExactJson): number => (value instanceof JsonNumber ? Number(value.text) : Number.NaN);

/** Of whole numbers. The library is right about a minimum of 0 or 1, and wrong about most other bounds: `most` is Infinity only with these or none. */
export function boundsOf(schema: Keywords, at: At): { readonly least: number; readonly most: number } {
  const [minimum, maximum, above, below] = BOUNDS.map((key) => {
    const value = schema[key];
    if (value !== undefined && !Number.isSafeInteger(numberOf(value))) throw refusal(at(key), "must be a whole number below 2^53");
    return value === undefined ? undefined : numberOf(value);
  });
  const least = Math.max(minimum ?? Number.NEGATIVE_INFINITY, (above ?? Number.NEGATIVE_INFINITY) + 1);
  const most = Math.min(maximum ?? Number.POSITIVE_INFINITY, (below ?? Number.POSITIVE_INFINITY) - 1);
  if (least > most) throw refusal(at("minimum"), "leaves no number below the maximum");
  const open = most === Number.POSITIVE_INFINITY && [0, 1, Number.NEGATIVE_INFINITY].includes(least);
  if (!open && !(most - least < RANGE_MAX))
    throw refusal(at("minimum"), `is supported alone where it is 0 or 1, or with a maximum less than ${RANGE_MAX} above it`);
  return { least, most };
}

/** A number beyond all doubles would be another one to whoever reads it. */
export function checkNumbers(value: ExactJson, place: string): void {
  if (value instanceof JsonNumber && !Number.isFinite(numberOf(value))) throw refusal(place, "must be a number that a double holds");
  const inner = value instanceof Map || Array.isArray(value) ? [...value.entries()] : [];
  for (const [key, part] of inner) checkNumbers(part, `${place}.${key}`);
}
