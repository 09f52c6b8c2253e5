import { ServingError } from "../../runtime/errors.ts";
import { type Fields, isFields } from "../../runtime/json.ts";

/**
 * The part of JSON Schema that an answer can be held to. What the library would read otherwise than the standard says, or not at all, is
 * refused here by name, so that whatever is accepted holds; and everything that costs it time or stack has a bound. Numbers are doubles, as
 * in JSON.parse: 0.1 may be answered as 0.10000000000000001, which is the same one.
 */
const SCHEMA_BYTES_MAX = 32_768;
/** Subschemas inside one another, and in all. */
const DEPTH_MAX = 24;
const SUBSCHEMAS_MAX = 500;
/** Values to choose from, in all. */
const VALUES_MAX = 500;
const OPTIONAL_MAX = 64;
const ITEMS_MAX = 1_000;

/** The schema as the library understands it rightly. Throws INVALID_REQUEST that names the place in the schema. `text`: its JSON. */
export function readSchema(text: string): string {
  if (Buffer.byteLength(text) > SCHEMA_BYTES_MAX) throw refusal("", `is larger than the ${SCHEMA_BYTES_MAX} bytes that are supported`);
  const root: unknown = JSON.parse(text);
  if (!isFields(root)) throw refusal("", "must be an object");
  const reader = new Reader(root);
  reader.check(root, "", 0);
  const whole = { ...(reader.instead.get(root) ?? root), $defs: { ...(root.$defs as Fields | undefined), ...reader.values } };
  return JSON.stringify(whole, (_, part) => reader.instead.get(part) ?? part);
}

export const refusal = (place: string, why: string): ServingError =>
  new ServingError("INVALID_REQUEST", `${place === "" ? "the schema" : place} ${why}`, { apiCode: "invalid_value" });

class Reader {
  /** What the library is given for some of the parts. */
  readonly instead = new Map<unknown, Fields>();
  /** Definitions of single values, under names that no $ref of a user's can have. */
  readonly values: Record<string, Fields> = {};
  readonly #root: Fields;
  #subschemas = 0;
  #values = 0;

  constructor(root: Fields) {
    this.#root = root;
  }

  check(schema: unknown, place: string, depth: number): void {
    if (!isFields(schema)) throw refusal(place, "must be an object: schemas that are only true or false are not supported here");
    if (depth > DEPTH_MAX) throw refusal(place, `lies deeper than the ${DEPTH_MAX} levels that are supported`);
    if (++this.#subschemas > SUBSCHEMAS_MAX) throw refusal("", `has more than the ${SUBSCHEMAS_MAX} parts that are supported`);
    const at = (key: string | number) => (place === "" ? String(key) : `${place}.${key}`);
    const form = formOf(schema, at);
    for (const key of Object.keys(schema)) {
      if (ANNOTATIONS.has(key) || FORMS[form]!.includes(key) || (depth === 0 && key === "$schema")) continue;
      if (key === "$defs" || key === "definitions") this.#defs(schema[key], at(key), depth);
      else throw refusal(at(key), KNOWN.has(key) ? `is not supported beside ${form}` : "is not supported");
    }
    this.#form(form, schema, at, depth);
  }

  #form(form: string, schema: Fields, at: At, depth: number): void {
    if (form === "enum" || form === "const") checkNumbers(schema[form], at(form));
    if (form === "$ref") this.#ref(schema.$ref, at("$ref"));
    else if (form === "enum") this.#enum(schema, schema.enum, at("enum"));
    else if (form === "const") this.#enum(schema, [schema.const], at("const"));
    else if (form === "anyOf" || form === "oneOf") this.#branches(schema[form], at(form), depth, Number.POSITIVE_INFINITY);
    else if (form === "allOf") this.#branches(schema.allOf, at(form), depth, 1);
    else if (form === "object") this.#object(schema, at, depth);
    else if (form === "array") this.#array(schema, at, depth);
    else if (form === "string") checkFormat(schema, at);
    else if (form === "integer") this.#integer(schema, at);
  }

  #defs(defs: unknown, place: string, depth: number): void {
    if (!isFields(defs)) throw refusal(place, "must be an object");
    for (const [name, schema] of Object.entries(defs)) this.check(schema, `${place}.${name}`, depth + 1);
  }

  /** To the root or to something right inside its definitions. */
  #ref(ref: unknown, place: string): void {
    if (ref === "#") return;
    const [, defs, name] = /^#\/(\$defs|definitions)\/([\w.-]+)$/.exec(String(ref)) ?? [];
    const target = defs === undefined ? undefined : this.#root[defs];
    if (!isFields(target) || !Object.hasOwn(target, name!)) throw refusal(place, "must be # or #/$defs/NAME of a definition that is there");
  }

  /** Each value is a definition of its own: of those that stand side by side the library takes ends and beginnings for one another, "a29" for one of "a20", "a10", "a19". */
  #enum(schema: Fields, values: unknown, place: string): void {
    const { type } = schema;
    if (!Array.isArray(values) || values.length === 0) throw refusal(place, "must be a list with at least one value");
    this.#values += values.length;
    if (this.#values > VALUES_MAX) throw refusal(place, `has more than the ${VALUES_MAX} values that are supported`);
    if (type !== undefined && !values.every((value) => typesOf(type, place).some((one) => isOfType(one, value))))
      throw refusal(place, "has a value that is not of the type beside it");
    const names = values.map((_, i) => `=${this.#values - i}`);
    values.forEach((value, i) => {
      this.values[names[i]!] =
        typeof value === "string" && value.includes("/") && !UNWRITABLE.test(value) ? exactly(value) : { const: value };
    });
    this.instead.set(schema, { anyOf: names.map((name) => ({ $ref: `#/$defs/${name}` })) });
  }

  #branches(branches: unknown, place: string, depth: number, max: number): void {
    if (!Array.isArray(branches) || branches.length === 0) throw refusal(place, "must be a list with at least one schema");
    if (branches.length > max) throw refusal(place, "with more than one schema is not supported");
    branches.forEach((branch, i) => void this.check(branch, `${place}.${i}`, depth + 1));
  }

  /** Beside properties that are described there are no others: the library would let those have any name, also one that is described, with a value that is not. */
  #object(schema: Fields, at: At, depth: number): void {
    const { properties = {}, required = [], additionalProperties = true } = schema;
    if (!isFields(properties)) throw refusal(at("properties"), "must be an object");
    for (const [name, described] of Object.entries(properties)) {
      if (UNWRITABLE.test(name))
        throw refusal(at("properties"), "has a name with a quote, a backslash or a control character, which is not supported");
      this.check(described, `${at("properties")}.${name}`, depth + 1);
    }
    const missing = Array.isArray(required) ? required.find((name) => !Object.hasOwn(properties, String(name))) : "";
    if (missing !== undefined) throw refusal(at("required"), "must be a list of names that properties describes");
    if (Object.keys(properties).length - new Set(required as string[]).size > OPTIONAL_MAX)
      throw refusal(at("properties"), `has more than the ${OPTIONAL_MAX} that may be left out that are supported`);
    if (typeof additionalProperties !== "boolean") this.check(additionalProperties, at("additionalProperties"), depth + 1);
    if (Object.keys(properties).length > 0) this.instead.set(schema, { ...schema, additionalProperties: false });
  }

  #array(schema: Fields, at: At, depth: number): void {
    const { items, prefixItems } = schema;
    if (prefixItems !== undefined) this.#branches(prefixItems, at("prefixItems"), depth, Number.POSITIVE_INFINITY);
    if (items !== undefined && !(items === false && prefixItems !== undefined)) this.check(items, at("items"), depth + 1);
    checkItemsRange(schema, at);
  }

  /** The library is right about a minimum of 0 or 1, and wrong about most other bounds: those are written out. */
  #integer(schema: Fields, at: At): void {
    for (const key of BOUNDS)
      if (schema[key] !== undefined && !Number.isSafeInteger(schema[key])) throw refusal(at(key), "must be a whole number below 2^53");
    const { minimum = -Infinity, exclusiveMinimum = -Infinity, maximum = Infinity, exclusiveMaximum = Infinity } = schema;
    const least = Math.max(Number(minimum), Number(exclusiveMinimum) + 1);
    const most = Math.min(Number(maximum), Number(exclusiveMaximum) - 1);
    if (most === Infinity && least === -Infinity) return;
    if (most === Infinity && (least === 0 || least === 1)) return void this.instead.set(schema, { type: "integer", minimum: least });
    if (least > most) throw refusal(at("minimum"), "leaves no number below the maximum");
    if (!(most - least < VALUES_MAX))
      throw refusal(at("minimum"), `is supported alone where it is 0 or 1, or with a maximum less than ${VALUES_MAX} above it`);
    const values = Array.from({ length: most - least + 1 }, (_, i) => least + i);
    this.#enum(schema, values, at("minimum"));
  }
}

/** A string that holds `/` as the model writes it: of a constant the library allows `\/` alone. */
const exactly = (text: string): Fields => ({ type: "string", pattern: `^${text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")}$` });

/** Of a whole number beyond 2^53, or one beyond all doubles, another has been read than was written, and that one would be forced. */
function checkNumbers(value: unknown, place: string): void {
  const parts: [unknown, string][] = [[value, place]];
  for (const [part, at] of parts) {
    if (typeof part === "number" && Math.abs(part) > Number.MAX_SAFE_INTEGER) throw refusal(at, "must be a number below 2^53");
    if (typeof part === "object" && part !== null) for (const [key, inner] of Object.entries(part)) parts.push([inner, `${at}.${key}`]);
  }
}

function checkFormat({ format }: Fields, at: At): void {
  if (format !== undefined && !FORMATS.includes(String(format)))
    throw refusal(at("format"), `is not supported but as one of ${FORMATS.join(", ")}`);
}

function checkItemsRange({ minItems = 0, maxItems = ITEMS_MAX }: Fields, at: At): void {
  for (const limit of [minItems, maxItems])
    if (!(Number.isInteger(limit) && Number(limit) >= 0 && Number(limit) <= ITEMS_MAX))
      throw refusal(at("minItems"), `and maxItems must be whole numbers up to ${ITEMS_MAX}`);
  if (Number(minItems) > Number(maxItems)) throw refusal(at("minItems"), "is more than maxItems");
}

type At = (key: string | number) => string;

/** What decides how a schema is read. The library looks at no other then. */
function formOf(schema: Fields, at: At): string {
  const form = ["$ref", "const", "enum", "anyOf", "oneOf", "allOf"].find((key) => schema[key] !== undefined);
  if (form !== undefined) return form;
  if (schema.type === undefined) {
    const bare = Object.keys(schema).find((key) => !ANNOTATIONS.has(key) && KNOWN.has(key) && key !== "$defs" && key !== "definitions");
    if (bare !== undefined) throw refusal(at(bare), "is not supported without a type beside it");
    return "any";
  }
  const types = typesOf(schema.type, at("type"));
  return types.length === 1 ? types[0]! : "types";
}

function typesOf(type: unknown, place: string): readonly string[] {
  const types = [type].flat();
  if (types.length === 0 || !types.every((one): one is string => typeof one === "string" && TYPES.includes(one)))
    throw refusal(place, `must be ${TYPES.join(", ")}, or a list of these`);
  return types;
}

function isOfType(type: string, value: unknown): boolean {
  if (type === "integer") return Number.isInteger(value);
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  return type === "object" ? isFields(value) : typeof value === type;
}

const TYPES: readonly string[] = ["string", "number", "integer", "boolean", "null", "object", "array"];
const BOUNDS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
const FORMATS: readonly string[] = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/** In a name the library would take them for its own. */
const UNWRITABLE = /["\\\p{Cc}\p{Surrogate}]/u;

/** Say nothing about what is valid. */
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

/** What may stand in a schema of each form. */
const FORMS: Readonly<Record<string, readonly string[]>> = {
  $ref: ["$ref"],
  const: ["const", "type"],
  enum: ["enum", "type"],
  anyOf: ["anyOf"],
  oneOf: ["oneOf"],
  allOf: ["allOf"],
  any: [],
  types: ["type"],
  string: ["type", "format"],
  number: ["type"],
  integer: ["type", ...BOUNDS],
  boolean: ["type"],
  null: ["type"],
  object: ["type", "properties", "required", "additionalProperties"],
  array: ["type", "items", "prefixItems", "minItems", "maxItems"],
};

const KNOWN: ReadonlySet<string> = new Set(Object.values(FORMS).flat());
