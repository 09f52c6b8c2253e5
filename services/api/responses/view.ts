import type { View } from "../answer/view.ts";
import { FIELDS, type Field, type Kept, payloadKey } from "./kept.ts";

/** Both fields inline leave room for the rest of a view. */
const INLINE_BYTES_MAX = 24_576;

/** The view as it goes into the log, and what goes beside it. */
export function writtenView(view: View): { readonly text: string; readonly payloads: ReadonlyMap<Field, Uint8Array> } {
  const payloads = new Map<Field, Uint8Array>();
  const written = (name: Field, kept: Kept<unknown>): Kept<unknown> => {
    const bytes = kept === "payload" ? Buffer.alloc(0) : Buffer.from(JSON.stringify(kept.value));
    if (bytes.length <= INLINE_BYTES_MAX) return kept;
    payloads.set(name, bytes);
    return "payload";
  };
  const { response } = view;
  if (response === undefined) return { text: JSON.stringify(view), payloads };
  const small = { ...response, echo: written("echo", response.echo), input: written("input", response.input) };
  return { text: JSON.stringify({ ...view, response: small }), payloads };
}

/** Where the rest of a job's view lies; of one that cannot be read, where it may lie. */
export const payloadKeys = (jobId: string, view: View | null): readonly string[] =>
  FIELDS.filter((name) => view === null || view.response?.[name] === "payload").map((name) => payloadKey(jobId, name));
