import type { Printable } from "../chat/python-json.ts";
import { type Library, refusedAt } from "./schema-forms.ts";

/**
 * The library goes into what a $ref leads to when it first meets it, and each schema that it has begun and not ended is a piece of its
 * stack: of objects and arrays about twice that of others. It takes 87 of these in a chain of anyOf or of objects, and more of other kinds;
 * behind them it goes over its stack, and some further on with damaged data, for ever at times.
 */
const PIECES_MAX = 87;

/** Throws INVALID_REQUEST where the library would go deeper. `definitions`: those of the root by their keyword, and then by name. */
export function checkDescent(root: Library, definitions: ReadonlyMap<string, ReadonlyMap<string, Library>>): void {
  const met = new Set<string>();
  const visit = (schema: Printable | undefined, before: number): void => {
    if (typeof schema !== "object" || schema === null) return;
    const { type, $ref, properties, prefixItems, items, additionalProperties, anyOf, allOf } = schema as Library;
    const pieces = before + (type === "object" || type === "array" ? 2 : 1);
    if (pieces > PIECES_MAX) throw refusedAt("", "is nested deeper than is supported");
    if (typeof $ref === "string" && !met.has($ref)) {
      met.add($ref);
      const [, keyword = "", name = ""] = $ref.split("/");
      visit(definitions.get(keyword)?.get(name), pieces);
    }
    const described = properties instanceof Map ? [...properties.values()] : [];
    for (const inner of [...described, prefixItems, items, additionalProperties, anyOf, allOf].flat()) visit(inner, pieces);
  };
  visit(root, 0);
}
