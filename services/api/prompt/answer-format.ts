import type { ChatMessage } from "../../shared/engine/chat/messages.ts";
import { entries, isObject, type Printable, printJson } from "../../shared/engine/chat/python-json.ts";
import type { Grammars } from "../../shared/engine/grammar/grammars.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { invalid } from "../errors.ts";
import type { ChatRequest } from "../requests.ts";
import type { Exactly } from "./exactly.ts";

/** The form that an answer is held to. */
export interface AnswerFormat {
  /** JSON Schema, as JSON. */
  readonly schema: string;
  /** What the prompt says of it. */
  readonly written: Printable;
  /** Where the request names the format, and the schema if it has one of its own. */
  readonly param: { readonly format: string; readonly schema: string };
}

const ANY_OBJECT = JSON.stringify({ type: "object" });

export function formatOf({ response_format }: ChatRequest, exactly: Exactly): AnswerFormat | undefined {
  if (response_format === undefined || response_format.type === "text") return undefined;
  const written = exactly("response_format");
  const schema = response_format.type === "json_object" ? ANY_OBJECT : schemaText(exactly("response_format", "json_schema", "schema"));
  return { schema, written, param: { format: "response_format", schema: "response_format.json_schema.schema" } };
}

/** Without whitespace, which counts among the bytes that a schema may have. */
const schemaText = (schema: Printable): string => printJson(schema, [",", ":"]);

/** Of the surfaces that put name and schema beside the type. `exactly`: the format as it was sent. */
export function flatFormat(
  format: { readonly type: string; readonly schema?: unknown } | undefined,
  exactly: () => Printable,
  param: string,
): AnswerFormat | undefined {
  if (format === undefined || format.type === "text") return undefined;
  const sent = exactly();
  const rest = isObject(sent) ? new Map(entries(sent).filter(([name]) => name !== "type")) : new Map<string, Printable>();
  const written = { type: format.type, ...(format.schema !== undefined && { json_schema: rest }) };
  const schema = format.schema === undefined ? ANY_OBJECT : schemaText(rest.get("schema") ?? null);
  return { schema, written, param: { format: param, schema: `${param}.schema` } };
}

/** Throws INVALID_REQUEST for a format that no answer to these messages can be held to. */
export async function requireFormat(grammars: Grammars, { schema, param }: AnswerFormat, messages: readonly ChatMessage[]): Promise<void> {
  if (messages.at(-1)?.wo_eos === true) throw unsupported(param.format, "is not supported when the last message is the assistant's");
  await grammars.check(schema).catch((error: unknown) => {
    if (error instanceof ServingError && error.code === "INVALID_REQUEST") throw unsupported(param.schema, error.message);
    throw error;
  });
}

const unsupported = (param: string, why: string): ServingError => invalid(param, why, "unsupported_parameter");
