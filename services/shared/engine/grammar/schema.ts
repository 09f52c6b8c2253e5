import { type ExactJson, printJson, readJson } from "../chat/python-json.ts";
import { costOf } from "./automaton.ts";
import { decimalsOf, writtenDecimals } from "./decimals.ts";
import { checkDescent } from "./descent.ts";
import { type Lengths, lengthsOf, shortLengths, tuple, tupleAnd } from "./lengths.ts";
import { Literals } from "./literals.ts";
import { boundsOf, checkNumbers } from "./numbers.ts";
import { patternOf, writeAutomaton } from "./patterns.ts";
import { writtenRange } from "./ranges.ts";
import {
  type At,
  BOUNDS,
  checkKeywords,
  DEFINITIONS,
  formatOf,
  formOf,
  isOfType,
  type Keywords,
  type Library,
  refusedAt,
  typesOf,
} from "./schema-forms.ts";
import { textLengthsOf, writtenText } from "./text-lengths.ts";

/**
 * The part of JSON Schema that an answer can be held to. What the library would read otherwise than the standard says, or not at all, is
 * refused here by name, so that whatever is accepted holds; and everything that costs it time or stack has a bound.
 */
const SCHEMA_BYTES_MAX = 32_768;
/** Subschemas inside one another, and in all. */
const DEPTH_MAX = 24;
const SUBSCHEMAS_MAX = 500;
/** Values to choose from, and parts of ranges, in all. */
const VALUES_MAX = 500;
/** What the automata of patterns cost, in all. */
const COST_MAX = 400;
const OPTIONAL_MAX = 64;
/** What arrays may have, or must where they may have any number, in all. */
const ITEMS_MAX = 10_000;
/** Items of arrays that may end before the last of their `prefixItems`, counted anew for each length, in all. */
const PLACES_MAX = 500;

interface ReadSchema {
  /** As the library understands it rightly: JSON. */
  readonly schema: string;
  /** What the grammar that it makes of it lacks. */
  readonly literals: Literals;
}

/** Throws INVALID_REQUEST that names the place in the schema. `text`: its JSON. */
export function readSchema(text: string): ReadSchema {
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
  readonly #literals = new Literals();
  /** The user's that can be referred to and, under names that cannot, ours. */
  readonly #definitions = new Map<string, Map<string, Library>>(DEFINITIONS.map((key) => [key, new Map()]));
  /** What expressions stand for, by these: clients' libraries put the same bounds around every integer. */
  readonly #expressed = new Map<string, Library>();
  /** Expressions for patterns, by what these say. */
  readonly #patterns = new Map<string, string>();
  #cost = 0;
  #ours = 0;
  #subschemas = 0;
  #items = 0;
  #places = 0;

  constructor(root: ReadonlyMap<string, ExactJson>) {
    this.#root = root;
  }

  whole(): ReadSchema {
    const root = this.#read(this.#root, "", 0);
    checkDescent(root, this.#definitions);
    return { schema: printJson({ ...root, ...Object.fromEntries(this.#definitions) }), literals: this.#literals };
  }

  #read(schema: ExactJson, place: string, depth: number): Library {
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

  #form(form: string, schema: Keywords, at: At, depth: number): Library {
    if (form === "$ref") return this.#ref(schema.$ref, at("$ref"));
    if (form === "enum" || form === "const") return this.#enum(form, schema, at(form));
    if (form === "anyOf" || form === "oneOf") return { anyOf: this.#branches(schema[form], at(form), depth) };
    if (form === "allOf") return { allOf: this.#branches(schema.allOf, at(form), depth, 1) };
    if (form === "object") return this.#object(schema, at, depth);
    if (form === "array") return this.#array(schema, at, depth);
    if (form === "integer") return this.#integer(schema, at);
    if (form === "number" && BOUNDS.some((key) => schema[key] !== undefined))
      return this.#expression(writtenDecimals(decimalsOf(schema, at)), at("minimum"));
    if (form === "string") return this.#string(schema, at);
    return form === "any" ? ANY : { type: form === "types" ? schema.type! : form };
  }

  /** Only those of the root can be referred to, and only by such names. */
  #defs(key: string, defs: ExactJson, place: string, depth: number): void {
    if (!(defs instanceof Map)) throw refusedAt(place, "must be an object");
    for (const [name, schema] of defs) {
      const read = this.#read(schema, `${place}.${name}`, depth + 1);
      if (depth === 0 && NAME.test(name)) this.#definitions.get(key)!.set(name, read);
    }
  }

  /** A definition of our own. */
  #define(schema: Library): Library {
    const name = `=${++this.#ours}`;
    this.#definitions.get("$defs")!.set(name, schema);
    return { $ref: `#/$defs/${name}` };
  }

  /** To the root or to something right inside its definitions. */
  #ref(ref: ExactJson | undefined, place: string): Library {
    if (ref === "#") return { $ref: ref };
    const [whole, defs, name = ""] = /^#\/(\$defs|definitions)\/(.+)$/.exec(String(ref)) ?? [];
    const target = defs === undefined ? undefined : this.#root.get(defs);
    if (!(target instanceof Map && NAME.test(name) && target.has(name)))
      throw refusedAt(place, "must be # or #/$defs/NAME of a definition that is there");
    return { $ref: whole! };
  }

  #enum(form: "enum" | "const", schema: Keywords, place: string): Library {
    const { type, [form]: value } = schema;
    checkNumbers(value!, place);
    const values = form === "const" ? [value!] : value;
    if (!Array.isArray(values) || values.length === 0) throw refusedAt(place, "must be a list with at least one value");
    if (type !== undefined && !values.every((one) => typesOf(type, place).some((name) => isOfType(name, one))))
      throw refusedAt(place, "has a value that is not of the type beside it");
    return this.#oneOf(
      values.map((one) => printJson(one)),
      place,
    );
  }

  /** Each is a definition of its own: of those that stand side by side the library takes ends and beginnings for one another, "a29" for one of "a20", "a10", "a19". */
  #oneOf(texts: readonly string[], place: string): Library {
    if (this.#literals.size + texts.length > VALUES_MAX)
      throw refusedAt(place, `has more than the ${VALUES_MAX} values that are supported`);
    return { anyOf: texts.map((text) => this.#define(this.#literals.add(text))) };
  }

  #branches(branches: ExactJson | undefined, place: string, depth: number, max = Number.POSITIVE_INFINITY): Library[] {
    if (!Array.isArray(branches) || branches.length === 0) throw refusedAt(place, "must be a list with at least one schema");
    if (branches.length > max) throw refusedAt(place, "with more than one schema is not supported");
    return branches.map((branch, i) => this.#read(branch, `${place}.${i}`, depth + 1));
  }

  /** Beside properties that are described there are no others: the library would let those have any name, also one that is described, with a value that is not. */
  #object(schema: Keywords, at: At, depth: number): Library {
    const { properties = new Map<string, ExactJson>(), required = [], additionalProperties = true } = schema;
    if (!(properties instanceof Map)) throw refusedAt(at("properties"), "must be an object");
    const described = new Map<string, Library>();
    for (const [name, property] of properties) {
      if (UNWRITABLE.test(name))
        throw refusedAt(at("properties"), "has a name with a quote, a backslash or a control character, which is not supported");
      described.set(name, this.#read(property, `${at("properties")}.${name}`, depth + 1));
    }
    if (!Array.isArray(required) || !required.every((name) => typeof name === "string" && described.has(name)))
      throw refusedAt(at("required"), "must be a list of names that properties describes");
    if (described.size - new Set(required).size > OPTIONAL_MAX)
      throw refusedAt(at("properties"), `has more than the ${OPTIONAL_MAX} that may be left out that are supported`);
    const others =
      typeof additionalProperties === "boolean"
        ? additionalProperties
        : this.#read(additionalProperties, at("additionalProperties"), depth + 1);
    if (described.size === 0) return { type: "object", additionalProperties: others };
    return { type: "object", properties: described, required, additionalProperties: false };
  }

  #array(schema: Keywords, at: At, depth: number): Library {
    const { items, prefixItems } = schema;
    const { least, most } = lengthsOf(schema, at);
    this.#items += Number.isFinite(most) ? most : least;
    if (this.#items > ITEMS_MAX) throw refusedAt(at("maxItems"), `makes more than the ${ITEMS_MAX} items of all arrays that are supported`);
    const kinds = prefixItems === undefined ? [] : this.#branches(prefixItems, at("prefixItems"), depth);
    const ends = items === false && prefixItems !== undefined;
    if (ends && least > kinds.length) throw refusedAt(at("minItems"), "is more than there are prefixItems, and items is false");
    const rest = items === undefined || ends ? ANY : this.#read(items, at("items"), depth + 1);
    return this.#tuple(kinds, rest, { least, most: ends ? Math.min(most, kinds.length) : most }, at);
  }

  /** The library has all `prefixItems` come: an array that may end before is one of several, which share what their items are. */
  #tuple(kinds: readonly Library[], rest: Library, lengths: Lengths, at: At): Library {
    const short = shortLengths(kinds.length, lengths);
    if (short.length === 0) return tupleAnd(kinds, rest, lengths);
    this.#places += short.reduce((sum, length) => sum + length, kinds.length);
    if (this.#places > PLACES_MAX)
      throw refusedAt(at("prefixItems"), `has more than the ${PLACES_MAX} places that are supported, counted for each length of the array`);
    const shared = kinds.map((kind) => this.#define(kind));
    const arrays = short.map((length) => tuple(shared.slice(0, length)));
    return { anyOf: lengths.most < kinds.length ? arrays : [...arrays, tupleAnd(shared, this.#define(rest), lengths)] };
  }

  #integer(schema: Keywords, at: At): Library {
    const { least, most } = boundsOf(schema, at);
    if (least === Number.NEGATIVE_INFINITY && most === Number.POSITIVE_INFINITY) return { type: "integer" };
    return this.#expression(writtenRange(least, most), at("minimum"));
  }

  #string(schema: Keywords, at: At): Library {
    if (schema.pattern !== undefined) return this.#expression([this.#patterned(schema, at)], at("pattern"));
    const format = formatOf(schema, at);
    const lengths = textLengthsOf(schema, at);
    if (lengths.least === 0 && lengths.most === Number.POSITIVE_INFINITY) return { type: "string", ...format };
    const bound = schema.minLength === undefined ? "maxLength" : "minLength";
    if (format.format !== undefined) throw refusedAt(at(bound), "is not supported beside format, unless a pattern stands there too");
    return this.#expression([writtenText(lengths, this.#literals)], at(bound));
  }

  /** The same patterns share their rules. */
  #patterned(schema: Keywords, at: At): string {
    const { key, automaton } = patternOf(schema, at);
    const known = this.#patterns.get(key);
    if (known !== undefined) return known;
    const states = automaton();
    this.#cost += costOf(states);
    if (this.#cost > COST_MAX)
      throw refusedAt(
        at("pattern"),
        `makes more than the ${COST_MAX} states of all patterns that are supported, counted eight times where they take more than ASCII`,
      );
    const name = `pattern_${this.#patterns.size}`;
    writeAutomaton(states, name, this.#literals);
    const expression = `"\\"" ${name}_0`;
    this.#patterns.set(key, expression);
    return expression;
  }

  /** One of these. */
  #expression(expressions: readonly string[], place: string): Library {
    const key = expressions.join(" | ");
    const known = this.#expressed.get(key);
    if (known !== undefined) return known;
    if (this.#literals.size + expressions.length > VALUES_MAX)
      throw refusedAt(place, `makes more than the ${VALUES_MAX} values and parts of ranges that are supported`);
    const made = this.#define({ anyOf: expressions.map((expression) => this.#define(this.#literals.addExpression(expression))) });
    this.#expressed.set(key, made);
    return made;
  }
}

const ANY: Library = {};

/** Of a definition that a $ref may name. */
const NAME = /^[\w.-]+$/;

/** In a name the library would take them for its own. */
const UNWRITABLE = /["\\\p{Cc}\p{Surrogate}]/u;
