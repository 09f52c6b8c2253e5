import { refusal, type ServingError } from "../../runtime/errors.ts";
import { type ExactJson, JsonNumber } from "../chat/python-json.ts";

/**
 * A schema's keywords. A value with names chosen by users stays a map, which keeps their order:
 * an object would put "10" before "a".
 */
export type Keywords = Readonly<Record<string, ExactJson>>;

/** The place of a schema's keyword in the whole, for messages. */
export type At = (key: string | number) => string;

export const refusedAt = (place: string, why: string): ServingError =>
  refusal(`${place === "" ? "the schema" : place} ${why}`, { apiCode: "invalid_value" });

/** The keyword or type that decides how a schema is read. */
export function formOf(schema: Keywords, at: At): string {
  const form = ["$ref", "const", "enum", "anyOf", "oneOf", "allOf"].find((key) => schema[key] !== undefined);
  if (form !== undefined) return form;
  if (schema.type === undefined) {
    const bare = Object.keys(schema).find((key) => !ANNOTATIONS.has(key) && KNOWN.has(key) && !DEFINITIONS.includes(key));
    if (bare !== undefined) throw refusedAt(at(bare), "is not supported without a type beside it");
    return "any";
  }
  const types = typesOf(schema.type, at("type"));
  return types.length === 1 ? types[0]! : "types";
}

/** Refuses keywords that no answer can be held to in a schema of this form. `isRoot`: it is the whole schema. */
export function checkKeywords(schema: Keywords, form: string, at: At, isRoot: boolean): void {
  for (const key of Object.keys(schema)) {
    if (ANNOTATIONS.has(key) || DEFINITIONS.includes(key) || FORMS[form]!.includes(key) || (isRoot && key === "$schema")) continue;
    throw refusedAt(at(key), KNOWN.has(key) ? `is not supported beside ${form}` : "is not supported");
  }
}

export function typesOf(type: ExactJson, place: string): readonly string[] {
  const types = Array.isArray(type) ? type : [type];
  if (types.length === 0 || !types.every((one): one is string => typeof one === "string" && TYPES.includes(one)))
    throw refusedAt(place, `must be ${TYPES.join(", ")}, or a list of these`);
  return types;
}

export function isOfType(type: string, value: ExactJson): boolean {
  if (type === "number") return value instanceof JsonNumber;
  if (type === "integer") return value instanceof JsonNumber && Number.isInteger(Number(value.text));
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  return type === "object" ? value instanceof Map : typeof value === type;
}

export function formatOf({ format }: Keywords, at: At): { readonly format?: string } {
  if (format === undefined) return {};
  if (typeof format !== "string" || !FORMATS.includes(format)) throw refusedAt(at("format"), `must be one of ${FORMATS.join(", ")}`);
  return { format };
}

const TYPES: readonly string[] = ["string", "number", "integer", "boolean", "null", "object", "array"];
const FORMATS: readonly string[] = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];
export const DEFINITIONS: readonly string[] = ["$defs", "definitions"];

export const BOUNDS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] as const;

/** Keywords that say nothing about what is valid. */
const ANNOTATIONS: ReadonlySet<string> = new Set([
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
  "$comment",
]);

/** Keywords that a schema of each form may have. */
const FORMS: Readonly<Record<string, readonly string[]>> = {
  $ref: ["$ref"],
  const: ["const", "type"],
  enum: ["enum", "type"],
  anyOf: ["anyOf"],
  oneOf: ["oneOf"],
  allOf: ["allOf"],
  any: [],
  types: ["type"],
  string: ["type", "format", "minLength", "maxLength", "pattern"],
  number: ["type", ...BOUNDS],
  integer: ["type", ...BOUNDS],
  boolean: ["type"],
  null: ["type"],
  object: ["type", "properties", "required", "additionalProperties"],
  array: ["type", "items", "prefixItems", "minItems", "maxItems"],
};

const KNOWN: ReadonlySet<string> = new Set(Object.values(FORMS).flat());
