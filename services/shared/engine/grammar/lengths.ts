import { numberOf } from "./numbers.ts";
import { type At, type Keywords, refusedAt } from "./schema-forms.ts";

const ITEMS_MAX = 1_000;

/** How many items an array may have. */
export interface Lengths {
  readonly least: number;
  /** Infinity: as many as it likes. */
  readonly most: number;
}

export function lengthsOf({ minItems, maxItems }: Keywords, at: At): Lengths {
  const least = minItems === undefined ? 0 : numberOf(minItems);
  const most = maxItems === undefined ? Number.POSITIVE_INFINITY : numberOf(maxItems);
  for (const limit of [least, maxItems === undefined ? 0 : most])
    if (!(Number.isInteger(limit) && limit >= 0 && limit <= ITEMS_MAX))
      throw refusedAt(at("minItems"), `and maxItems must be whole numbers up to ${ITEMS_MAX}`);
  if (least > most) throw refusedAt(at("minItems"), "is more than maxItems");
  return { least, most };
}
