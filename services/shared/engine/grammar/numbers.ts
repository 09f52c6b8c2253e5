import { type ExactJson, JsonNumber } from "../chat/python-json.ts";
import { type At, BOUNDS, type Keywords, refusedAt } from "./schema-forms.ts";

/** NaN if `value` is not a number. */
export const numberOf = (value: ExactJson): number => (value instanceof JsonNumber ? Number(value.text) : Number.NaN);

/** Bounds of whole numbers, both included; infinite where there is none. */
export function boundsOf(schema: Keywords, at: At): { readonly least: number; readonly most: number } {
  const [minimum, maximum, above, below] = BOUNDS.map((key) => {
    const value = schema[key];
    if (value !== undefined && !Number.isSafeInteger(numberOf(value))) throw refusedAt(at(key), "must be a whole number below 2^53");
    return value === undefined ? undefined : numberOf(value);
  });
  const least = Math.max(minimum ?? Number.NEGATIVE_INFINITY, (above ?? Number.NEGATIVE_INFINITY) + 1);
  const most = Math.min(maximum ?? Number.POSITIVE_INFINITY, (below ?? Number.POSITIVE_INFINITY) - 1);
  if (least > most) throw refusedAt(at(boundIn(schema)), "leaves no number within the bounds");
  return { least, most };
}

/** A bound that the schema has. */
export const boundIn = (schema: Keywords): string => BOUNDS.find((key) => schema[key] !== undefined)!;

/** Refuses numbers beyond all doubles: a reader would make other numbers of them. */
export function checkNumbers(value: ExactJson, place: string): void {
  if (value instanceof JsonNumber && !Number.isFinite(numberOf(value))) throw refusedAt(place, "must be a number that a double holds");
  const inner = value instanceof Map || Array.isArray(value) ? [...value.entries()] : [];
  for (const [key, part] of inner) checkNumbers(part, `${place}.${key}`);
}
