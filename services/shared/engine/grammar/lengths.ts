import { numberOf } from "./numbers.ts";
import { type At, type Keywords, type Library, refusedAt } from "./schema-forms.ts";

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

/** Those lengths at which an array ends before the last of its `prefixItems`. */
export const shortLengths = (prefixItems: number, { least, most }: Lengths): readonly number[] =>
  Array.from({ length: Math.max(0, Math.min(prefixItems - 1, most) - least + 1) }, (_, i) => least + i);

/** An array of one item of each of these kinds. */
export const tuple = (kinds: readonly Library[]): Library =>
  kinds.length === 0 ? { type: "array", maxItems: 0 } : { type: "array", prefixItems: kinds, items: false };

/** A `tuple` and, behind it, as many of `rest` as `lengths` of the whole array leave room for: at least all of the tuple's. */
export const tupleAnd = (kinds: readonly Library[], rest: Library, { least, most }: Lengths): Library =>
  most === kinds.length
    ? tuple(kinds)
    : {
        type: "array",
        ...(kinds.length > 0 && { prefixItems: kinds }),
        items: rest,
        minItems: Math.max(least, kinds.length),
        ...(most !== Number.POSITIVE_INFINITY && { maxItems: most }),
      };
