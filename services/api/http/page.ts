import { z } from "zod";
import { ServingError } from "../../shared/runtime/errors.ts";
import { optional } from "../requests.ts";

/** What a list may be asked for: everything is text in a query. */
export const pageQuery = (limits: { readonly max: number; readonly fallback: number }) =>
  z.object({
    limit: optional(z.coerce.number().int().min(1).max(limits.max)).transform((limit) => limit ?? limits.fallback),
    order: optional(z.enum(["asc", "desc"])),
    after: optional(z.string()),
  });
type Query = z.output<ReturnType<typeof pageQuery>>;

/** A page of a list in OpenAI's form. */
export interface Page<T> {
  readonly object: "list";
  readonly data: readonly T[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

/** Oldest first, as `pageOf` takes them. */
export const byAge = <T extends { readonly id: string; readonly created_at: number }>(all: readonly T[]): T[] =>
  all.toSorted((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1));

/** One page of a list of ids that differ, from its end on unless it is asked for in order. NOT_FOUND when `after` names nothing in it. */
export function pageOf<T extends { readonly id: string }>(all: readonly T[], { limit, order, after }: Query): Page<T> {
  const ordered = order === "asc" ? all : all.toReversed();
  const begin = after === undefined ? 0 : ordered.findIndex(({ id }) => id === after) + 1;
  if (begin === 0 && after !== undefined)
    throw new ServingError("NOT_FOUND", `after: nothing in this list has the id ${after.slice(0, 100)}`, { param: "after" });
  const data = ordered.slice(begin, begin + limit);
  return {
    object: "list",
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: begin + limit < ordered.length,
  };
}
