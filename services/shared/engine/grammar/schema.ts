import { type ExactJson, printJson, readJson } from "../chat/python-json.ts";
import { Effort } from "./automaton.ts";
import { decimalsOf, writtenDecimals } from "./decimals.ts";
import { all, any, type Expression, literal, literals, named, Rule } from "./expression.ts";
import { ANY, ARRAY, arrayOf, BOOLEAN, INTEGER, mapOf, NULL, NUMBER, OBJECT, objectOf, STRING } from "./json.ts";
import { itemLengthsOf } from "./lengths.ts";
import { boundIn, boundsOf, checkNumbers } from "./numbers.ts";
import { heldText } from "./patterns.ts";
import { writtenRange } from "./ranges.ts";
import { type At, BOUNDS, checkKeywords, DEFINITIONS, formOf, isOfType, type Keywords, refusedAt, typesOf } from "./schema-forms.ts";

/**
 * The part of JSON Schema that an answer can be held to. Everything else is refused here by name, so that whatever is
 * accepted holds. Everything that costs time or memory has a bound.
 */
const SCHEMA_BYTES_MAX = 32_768;
/** Subschemas inside one another, and in all. */
const DEPTH_MAX = 24;
const SUBSCHEMAS_MAX = 500;
/** Values to choose from and parts of ranges, in all. */
const VALUES_MAX = 500;
/** States of the automata of all strings. One that takes every character becomes some twenty of the grammar: 5 kB. */
const TEXTS_STATES_MAX = 4_000;
/** Items of all arrays together: the most each may have, or the least where there is no most. */
const ITEMS_MAX = 10_000;

/** The rule for answers to a schema. Throws INVALID_REQUEST naming the place in the schema. `text`: its JSON. */
export function readSchema(text: string): Rule {
  if (Buffer.byteLength(text) > SCHEMA_BYTES_MAX) throw refusedAt("", `is larger than the ${SCHEMA_BYTES_MAX} bytes that are supported`);
  const root = exactly(text);
  if (!(root instanceof Map)) throw refusedAt("", "must be an object");
  return new Reader(root).whole();
}

function exactly(text: string): ExactJson {
  try {
    return readJson(text);
  } catch (error) {
    throw refusedAt("", `cannot be read: ${(error as Error).message}`);
  }
}

class Reader {
  readonly #root: ReadonlyMap<string, ExactJson>;
  /** Rules of the root and its definitions, by the $ref that names them. */
  readonly #rules = new Map<string, Rule>();
  /**
   * Expressions for bounded numbers and strings, by bounds: clients' libraries put the same ones around every integer.
   */
  readonly #known = new Map<string, Expression>();
  readonly #effort = new Effort();
  #values = 0;
  #states = 0;
  #subschemas = 0;
  #items = 0;

  constructor(root: ReadonlyMap<string, ExactJson>) {
    this.#root = root;
  }

  whole(): Rule {
    const rule = this.#rule("#");
    rule.body = this.#read(this.#root, "", 0);
    return rule;
  }

  #rule(ref: string): Rule {
    const rule = this.#rules.get(ref) ?? new Rule();
    this.#rules.set(ref, rule);
    return rule;
  }

  #read(schema: ExactJson, place: string, depth: number): Expression {
    if (!(schema instanceof Map)) throw refusedAt(place, "must be an object: schemas that are only true or false are not supported here");
    if (depth > DEPTH_MAX) throw refusedAt(place, `lies deeper than the ${DEPTH_MAX} levels that are supported`);
    if (++this.#subschemas > SUBSCHEMAS_MAX) throw refusedAt("", `has more than the ${SUBSCHEMAS_MAX} parts that are supported`);
    const at = (key: string | number) => (place === "" ? String(key) : `${place}.${key}`);
    const keywords: Keywords = Object.fromEntries(schema);
    const form = formOf(keywords, at);
    checkKeywords(keywords, form, at, depth === 0);
    for (const key of DEFINITIONS) if (keywords[key] !== undefined) this.#defs(key, keywords[key], at(key), depth);
    return this.#form(form, keywords, at, depth);
  }

  #form(form: string, schema: Keywords, at: At, depth: number): Expression {
    if (form === "$ref") return this.#ref(schema.$ref, at("$ref"));
    if (form === "enum" || form === "const") return this.#enum(form, schema, at(form));
    if (form === "anyOf" || form === "oneOf") return any(...this.#branches(schema[form], at(form), depth));
    if (form === "allOf") return any(...this.#branches(schema.allOf, at(form), depth, 1));
    if (form === "object") return this.#object(schema, at, depth);
    if (form === "array") return this.#array(schema, at, depth);
    if (form === "integer") return this.#integer(schema, at);
    if (form === "number") return this.#number(schema, at);
    if (form === "string") return this.#string(schema, at);
    return form === "any" ? ANY : any(...typesOf(schema.type!, at("type")).map((type) => TYPES[type]!));
  }

  /** Only definitions of the root can be referred to, and only by names that match NAME. */
  #defs(key: string, defs: ExactJson, place: string, depth: number): void {
    if (!(defs instanceof Map)) throw refusedAt(place, "must be an object");
    for (const [name, schema] of defs) {
      const read = this.#read(schema, `${place}.${name}`, depth + 1);
      if (depth === 0 && NAME.test(name)) this.#rule(`#/${key}/${name}`).body = read;
    }
  }

  /** Refers to the root, or to a direct child of its definitions. */
  #ref(ref: ExactJson | undefined, place: string): Expression {
    if (ref === "#") return { kind: "rule", rule: this.#rule(ref) };
    const [whole, defs, name = ""] = /^#\/(\$defs|definitions)\/(.+)$/.exec(String(ref)) ?? [];
    const target = defs === undefined ? undefined : this.#root.get(defs);
    if (!(target instanceof Map && NAME.test(name) && target.has(name)))
      throw refusedAt(place, "must be # or #/$defs/NAME of an existing definition");
    return { kind: "rule", rule: this.#rule(whole!) };
  }

  #enum(form: "enum" | "const", schema: Keywords, place: string): Expression {
    const { type, [form]: value } = schema;
    checkNumbers(value!, place);
    const values = form === "const" ? [value!] : value;
    if (!Array.isArray(values) || values.length === 0) throw refusedAt(place, "must be a list with at least one value");
    if (type !== undefined && !values.every((one) => typesOf(type, place).some((name) => isOfType(name, one))))
      throw refusedAt(place, "has a value that is not of the type beside it");
    this.#count(values.length, "", place);
    return literals(values.map(written));
  }

  #count(values: number, and: string, place: string): void {
    this.#values += values;
    if (this.#values > VALUES_MAX)
      throw refusedAt(place, `${and === "" ? "has" : "makes"} more than the ${VALUES_MAX} values${and} that are supported`);
  }

  #branches(branches: ExactJson | undefined, place: string, depth: number, max = Number.POSITIVE_INFINITY): Expression[] {
    if (!Array.isArray(branches) || branches.length === 0) throw refusedAt(place, "must be a list with at least one schema");
    if (branches.length > max) throw refusedAt(place, "with more than one schema is not supported");
    return branches.map((branch, i) => this.#read(branch, `${place}.${i}`, depth + 1));
  }

  /** An object with described properties has no others. */
  #object(schema: Keywords, at: At, depth: number): Expression {
    const { properties = new Map<string, ExactJson>(), required = [], additionalProperties = true } = schema;
    if (!(properties instanceof Map)) throw refusedAt(at("properties"), "must be an object");
    const described = new Map<string, Expression>();
    for (const [name, property] of properties) described.set(name, this.#read(property, `${at("properties")}.${name}`, depth + 1));
    if (!Array.isArray(required) || !required.every((name) => typeof name === "string" && described.has(name)))
      throw refusedAt(at("required"), "must be a list of names in properties");
    const others =
      typeof additionalProperties === "boolean" ? ANY : this.#read(additionalProperties, at("additionalProperties"), depth + 1);
    if (described.size === 0 && additionalProperties !== false) return mapOf(others);
    return objectOf([...described].map(([name, value]) => ({ name: written(name), value, isRequired: required.includes(name) })));
  }

  #array(schema: Keywords, at: At, depth: number): Expression {
    const { items, prefixItems } = schema;
    const { least, most } = itemLengthsOf(schema, at);
    const [count, key] = Number.isFinite(most) ? [most, "maxItems"] : [least, "minItems"];
    this.#items += count;
    if (this.#items > ITEMS_MAX) throw refusedAt(at(key), `makes more than the ${ITEMS_MAX} items of all arrays that are supported`);
    const kinds = prefixItems === undefined ? [] : this.#branches(prefixItems, at("prefixItems"), depth);
    const ends = items === false && prefixItems !== undefined;
    if (ends && least > kinds.length) throw refusedAt(at("minItems"), "is more than the number of prefixItems, and items is false");
    const rest = items === undefined || ends ? ANY : named(this.#read(items, at("items"), depth + 1));
    return arrayOf(kinds, rest, least, ends ? Math.min(most, kinds.length) : most);
  }

  #integer(schema: Keywords, at: At): Expression {
    const { least, most } = boundsOf(schema, at);
    if (least === Number.NEGATIVE_INFINITY && most === Number.POSITIVE_INFINITY) return INTEGER;
    return this.#range(`integer ${least} ${most}`, () => writtenRange(least, most), at(boundIn(schema)));
  }

  #number(schema: Keywords, at: At): Expression {
    if (BOUNDS.every((key) => schema[key] === undefined)) return NUMBER;
    const decimals = decimalsOf(schema, at);
    return this.#range(`number ${decimals.least} ${decimals.most}`, () => writtenDecimals(decimals), at(boundIn(schema)));
  }

  #range(key: string, parts: () => readonly Expression[], place: string): Expression {
    return this.#once(key, () => {
      const choices = parts();
      this.#count(choices.length, " and parts of ranges", place);
      return any(...choices);
    });
  }

  #string(schema: Keywords, at: At): Expression {
    const held = heldText(schema, at);
    if (held === null) return STRING;
    return this.#once(held.key, () => {
      const text = held.text(this.#effort);
      this.#states += text.automaton.length;
      if (this.#states > TEXTS_STATES_MAX)
        throw refusedAt(held.place, `makes more than the ${TEXTS_STATES_MAX} states of all strings that are supported`);
      return all(literal('"'), { kind: "text", text });
    });
  }

  #once(key: string, make: () => Expression): Expression {
    const known = this.#known.get(key) ?? named(make());
    this.#known.set(key, known);
    return known;
  }
}

const TYPES: Readonly<Record<string, Expression>> = {
  string: STRING,
  number: NUMBER,
  integer: INTEGER,
  boolean: BOOLEAN,
  null: NULL,
  object: OBJECT,
  array: ARRAY,
};

/** As json.dumps(ensure_ascii=False) writes it, except lone surrogates, which have no UTF-8 form. */
const written = (value: ExactJson): string =>
  printJson(value).replace(/\p{Surrogate}/gu, (half) => `\\u${half.charCodeAt(0).toString(16)}`);

/** The name of a definition that a $ref may refer to. */
const NAME = /^[\w.-]+$/;
