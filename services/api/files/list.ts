import { z } from "zod";
import { ServingError } from "../../shared/runtime/errors.ts";
import { optional } from "../requests.ts";

interface Listed {
  readonly id: string;
  readonly created_at: number;
}

/** What a list may be asked for: everything is text in a query. */
export const pageQuery = (limits: { readonly max: number; readonly fallback: number }) =>
  z.object({
    limit: optional(z.coerce.number().int().min(1).max(limits.max)).transform((limit) => limit ?? limits.fallback),
    order: optional(z.enum(["asc", "desc"])),
    after: optional(z.string()),
  });

/** One page of a list in OpenAI's form, newest first unless it says otherwise. NOT_FOUND when `after` names nothing in it. */
export function pageOf<T extends Listed>(
  all: readonly T[],
  { limit, order, after }: { readonly limit: number; readonly order?: "asc" | "desc" | undefined; readonly after?: string | undefined },
): object {
  const sign = order === "asc" ? 1 : -1;
  const sorted = all.toSorted((a, b) => sign * (a.created_at - b.created_at || (a.id < b.id ? -1 : 1)));
  const begin = after === undefined ? 0 : sorted.findIndex(({ id }) => id === after) + 1;
  if (begin === 0 && after !== undefined)
    throw new ServingError("NOT_FOUND", `after: nothing in this list has the id ${after.slice(0, 100)}`, { param: "after" });
  const data = sorted.slice(begin, begin + limit);
  return {
    object: "list",
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: begin + limit < sorted.length,
  };
}
