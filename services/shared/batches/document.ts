import type { z } from "zod";
import type { Document } from "../bus/contract.ts";
import { ServingError } from "../runtime/errors.ts";

/** A document's JSON, checked against `shape`; fields unknown to `shape` are kept. Throws DAMAGED. */
export function readDocument<T>(shape: z.ZodType<T>, { id, text }: Pick<Document, "id" | "text">): T {
  try {
    const said: unknown = JSON.parse(text);
    shape.parse(said);
    return said as T;
  } catch (cause) {
    throw new ServingError("DAMAGED", `the stored document of ${id} cannot be read: it is damaged, or a newer version wrote it`, { cause });
  }
}
