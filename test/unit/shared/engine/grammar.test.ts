import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { JsonNumber, type Printable, printJson } from "../../../../services/shared/engine/chat/python-json.ts";
import type { Allowed } from "../../../../services/shared/engine/engine.ts";
import type { Constraint } from "../../../../services/shared/engine/grammar/following.ts";
import { Grammars } from "../../../../services/shared/engine/grammar/grammars.ts";
import { Tokenizer } from "../../../../services/shared/engine/tokenizer/tokenizer.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { allowedIds } from "../../../support/allowed-ids.ts";
import { decode } from "../../../support/decode.ts";
import { testSeed } from "../../../support/seed.ts";

let tokenizer: Tokenizer;
let grammars: Grammars;
beforeAll(async () => {
  tokenizer = await Tokenizer.load("deploy/models/yardlog");
  grammars = new Grammars(tokenizer.vocabulary(), { compileMs: 20_000, nextMs: 20_000 });
});
afterAll(() => grammars.close());

const object = (properties: object, more: object = {}) => ({ type: "object", properties, additionalProperties: false, ...more });
const nested = (depth: number): object => (depth === 0 ? { type: "string" } : object({ a: nested(depth - 1) }, { required: ["a"] }));
/** Every definition leads to the next: the library descends through all. */
const chain = (length: number) => ({
  $ref: "#/$defs/d0",
  $defs: Object.fromEntries(
    Array.from({ length }, (_, i) => [
      `d${i}`,
      object(i + 1 < length ? { a: { $ref: `#/$defs/d${i + 1}` } } : {}, i + 1 < length ? { required: ["a"] } : {}),
    ]),
  ),
});

const held: readonly object[] = [
  {},
  { type: "object" },
  { type: ["string", "null"] },
  { type: "number" },
  { type: "boolean", title: "a title", description: "says nothing" },
  { enum: ['a"\\\n\u2028é😀', 1.5, null, { b: [1, "x"], a: {} }] },
  { const: { b: 1, a: [true] } },
  { type: "string", enum: ["a", "b"] },
  { enum: [0.1, -1e-7, 5e-324, [1 / 3], { a: 123.456 }] },
  { type: "integer", minimum: -5, maximum: 123 },
  { type: "integer", exclusiveMinimum: 0 },
  { type: "integer", minimum: 1001, exclusiveMaximum: 1100 },
  { type: "array", items: { type: "integer" }, minItems: 2, maxItems: 4 },
  { type: "array", prefixItems: [{ type: "string" }, { type: "boolean" }], items: { type: "null" }, minItems: 2 },
  { type: "array", prefixItems: [{ const: 1 }], items: false },
  object({ a: { type: "integer" }, b: { type: "string" }, "c d é": { type: "null" } }, { required: ["b"] }),
  { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
  { type: "object", properties: { a: { type: "integer" } }, additionalProperties: { type: "boolean" } },
  object({ v: { type: "string" }, of: { type: "array", items: { $ref: "#" } } }, { required: ["v", "of"] }),
  { $ref: "#/definitions/x", definitions: { x: { allOf: [{ $ref: "#/definitions/y" }] }, y: { type: "boolean" } } },
  { anyOf: [{ type: "integer" }, object({ kind: { const: "k" } }, { required: ["kind"] })] },
  { oneOf: [{ type: "boolean" }, { type: "null" }] },
  ...["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"].map((format) => ({ type: "string", format })),
  nested(20),
  chain(20),
  object(Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`p${i}`, { type: "integer" }]))),
];

const ids = (allowed: Allowed) => allowedIds(allowed, tokenizer.vocabSize);

/** Takes any of the tokens that are allowed, and ends where it may; null if that is not soon. */
async function walk(constraint: Constraint, choose: (ids: readonly number[]) => number): Promise<string | null> {
  const following = grammars.follow(constraint);
  const answer: number[] = [];
  try {
    while (answer.length < 400) {
      const may = ids((await following.allowed(answer))!);
      const id =
        answer.length > 20 && may.some((id) => tokenizer.stopIds.has(id)) ? may.find((id) => tokenizer.stopIds.has(id))! : choose(may);
      if (tokenizer.stopIds.has(id)) return decode(tokenizer, answer);
      answer.push(id);
    }
    return null;
  } finally {
    following.close();
  }
}

test.each(held.map((schema) => [JSON.stringify(schema).slice(0, 90), schema]))(
  "whatever the model wants, its answer is valid: %s",
  async (_, schema) => {
    const random = seededRandom(testSeed());
    const valid = new Ajv2020({ strict: false, validateFormats: false }).compile(schema);
    for (let round = 0; round < 3; round++) {
      const text = await walk({ schema: JSON.stringify(schema) }, (may) => may[random.u32() % may.length]!);
      if (text !== null) expect([valid(JSON.parse(text)), text], JSON.stringify(valid.errors)).toEqual([true, text]);
    }
  },
);

test("an answer is one of the values, whatever beginnings and ends they share", async () => {
  const answers = async (schema: string, taken: readonly number[] = []): Promise<string[]> => {
    const following = grammars.follow({ schema });
    const may = ids((await following.allowed(taken))!);
    following.close();
    const ways = may.map((id) => (tokenizer.stopIds.has(id) ? [decode(tokenizer, taken)] : answers(schema, [...taken, id])));
    return (await Promise.all(ways)).flat();
  };
  for (const values of [
    ["a20", "a10", "a19"],
    [-20, -19, -10, -2],
    ["abb", "aab", "aac"],
  ]) {
    for (const [schema, answer] of placesOf({ enum: values })) {
      const found = new Set((await answers(JSON.stringify(schema))).map((text) => JSON.stringify(JSON.parse(text))));
      expect([...found].sort()).toEqual(values.map((value) => JSON.stringify(answer(value))).sort());
    }
  }
});

/** A schema alone, and as part of others. */
const placesOf = (schema: object): Array<[object, (value: unknown) => unknown]> => [
  [schema, (value) => value],
  [{ type: "object", properties: { x: schema }, required: ["x"], additionalProperties: false }, (x) => ({ x })],
  [{ type: "array", items: schema, minItems: 1, maxItems: 1 }, (value) => [value]],
];

test("an object has none but the properties that are described, whatever else is allowed", async () => {
  const properties = { a: { const: 1 }, ab: { const: 2 }, b: { const: 1 } };
  for (const more of [{}, { additionalProperties: true }, { additionalProperties: { type: "null" } }]) {
    const schema = { type: "object", properties, required: ["b"], ...more };
    expect(await textsOf(schema)).toEqual(new Set(['{"b": 1}', '{"a": 1, "b": 1}', '{"ab": 2, "b": 1}', '{"a": 1, "ab": 2, "b": 1}']));
  }
});

/** Tokens that are bytes: there is one way to write each answer. */
const bytes = new Grammars(
  {
    table: {
      block: Uint8Array.from({ length: 256 }, (_, byte) => byte),
      starts: Int32Array.from({ length: 258 }, (_, i) => Math.min(i, 256)),
      special: [],
    },
    stopIds: [256],
    vocabSize: 257,
  },
  { compileMs: 20_000, nextMs: 20_000 },
);
afterAll(() => bytes.close());

/** Every answer to a schema that has few, letter by letter. */
async function textsOf(schema: Printable): Promise<Set<string>> {
  const texts = new Set<string>();
  const begun: number[][] = [[]];
  for (let taken = begun.pop(); taken !== undefined; taken = begun.pop()) {
    const following = bytes.follow({ schema: printJson(schema) });
    const mask = (await following.allowed(taken))!;
    following.close();
    for (const id of allowedIds(mask, 257)) {
      if (id === 256) texts.add(Buffer.from(taken).toString());
      else begun.push([...taken, id]);
    }
  }
  return texts;
}

/** A schema of few answers, and these. */
type Few = { readonly schema: Printable; readonly texts: readonly string[] };
const short = fc.array(fc.constantFrom("a", "b", "0", "1"), { maxLength: 3 }).map((letters) => letters.join(""));
const fewValues = fc.oneof(
  short,
  fc.integer({ min: -9, max: 120 }),
  fc.array(fc.oneof(short, fc.nat(9)), { maxLength: 2 }),
  fc.array(fc.tuple(short, fc.nat(9)), { maxLength: 3 }).map((pairs) => new Map(pairs)),
);
/** One of each, in their order. */
const products = (lists: readonly (readonly string[])[]): string[][] =>
  lists.reduce<string[][]>((begun, list) => begun.flatMap((texts) => list.map((text) => [...texts, text])), [[]]);

const few = fc.letrec<{ few: Few }>((tie) => ({
  few: fc
    .oneof(
      { maxDepth: 2, depthSize: "small" },
      fc.array(fewValues, { minLength: 1, maxLength: 5 }).map((values) => ({
        schema: { enum: values },
        texts: values.map((value) => printJson(value)),
      })),
      fewValues.map((value) => ({ schema: { const: value }, texts: [printJson(value)] })),
      fc.constant({ schema: { type: ["boolean", "null"] }, texts: ["true", "false", "null"] }),
      fc.tuple(fc.integer({ min: -12, max: 1 }), fc.nat(3), fc.boolean()).map(([least, more, above]) => ({
        schema: { type: "integer", maximum: least + more, ...(above ? { exclusiveMinimum: least - 1 } : { minimum: least }) },
        texts: Array.from({ length: more + 1 }, (_, i) => String(least + i)),
      })),
      fc.array(tie("few"), { minLength: 1, maxLength: 3 }).map((branches) => ({
        schema: { anyOf: branches.map(({ schema }) => schema) },
        texts: branches.flatMap(({ texts }) => texts),
      })),
      fc
        .tuple(fc.uniqueArray(fc.tuple(short, tie("few")), { minLength: 1, maxLength: 3, selector: ([name]) => name }), fc.nat(2))
        .map(([parts, some]) => {
          const required = parts.slice(0, some).map(([name]) => name);
          const pairs = parts.map(([name, { texts }]) => [
            ...(required.includes(name) ? [] : [""]),
            ...texts.map((text) => `${JSON.stringify(name)}: ${text}`),
          ]);
          const schema = { type: "object", properties: new Map(parts.map(([name, part]) => [name, part.schema])), required };
          return { schema, texts: products(pairs).map((set) => `{${set.filter((pair) => pair !== "").join(", ")}}`) };
        }),
      fc
        .record({
          prefix: fc.array(tie("few"), { maxLength: 3 }),
          items: fc.option(tie("few")),
          ...{ least: fc.nat(3), more: fc.nat(2) },
        })
        .filter(({ prefix, items, least }) => (items === null ? prefix.length > 0 && least <= prefix.length : true))
        .map(({ prefix, items, least, more }) => {
          const [minItems, maxItems] = [least, least + more];
          const lengths = Array.from({ length: more + 1 }, (_, i) => least + i).filter(
            (length) => items !== null || length <= prefix.length,
          );
          const kinds = (length: number) => Array.from({ length }, (_, i) => (prefix[i] ?? items!).texts);
          const prefixItems = prefix.map(({ schema }) => schema);
          return {
            schema: { type: "array", ...(prefix.length > 0 && { prefixItems }), items: items?.schema ?? false, minItems, maxItems },
            texts: lengths.flatMap((length) => products(kinds(length))).map((texts) => `[${texts.join(", ")}]`),
          };
        }),
    )
    .filter(({ texts }) => texts.length <= 12),
})).few;

test("a schema of few answers has exactly these, letter by letter: in its order, with one whitespace, whatever beginnings and ends its parts share", async () => {
  await fc.assert(
    fc.asyncProperty(
      few.filter(({ texts }) => texts.join("").length < 400),
      async ({ schema, texts }) => {
        expect(await textsOf(schema), printJson(schema)).toEqual(new Set(texts));
      },
    ),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 60) },
  );
});

/** Whether `text` is an answer. */
async function takes(schema: Printable, text: string): Promise<boolean> {
  const following = bytes.follow({ schema: printJson(schema) });
  try {
    return allowedIds((await following.allowed([...Buffer.from(text)]))!, 257).includes(256);
  } catch (error) {
    expect(error).toMatchObject({ message: expect.stringContaining("is not what its schema allows") });
    return false;
  } finally {
    following.close();
  }
}

test("an array is as long as minItems and maxItems allow, also where it ends before the last of prefixItems", async () => {
  const kinds = [{ type: "null" }, { type: "boolean" }, { const: [1] }];
  const sample = [null, true, [1], "x", "x", "x"];
  const limits = [undefined, 0, 1, 2, 4];
  for (const some of [1, 2, 3])
    for (const items of [undefined, false, { type: "string" }])
      for (const minItems of limits)
        for (const maxItems of limits.filter((limit) => limit === undefined || limit >= (minItems ?? 0))) {
          const schema = JSON.parse(JSON.stringify({ type: "array", prefixItems: kinds.slice(0, some), items, minItems, maxItems }));
          const answers = Array.from({ length: 6 }, (_, length) => [
            ...sample.slice(0, Math.min(some, length)),
            ...Array(Math.max(0, length - some)).fill("x"),
          ]);
          const valid = new Ajv2020({ strict: false }).compile(schema);
          if (!answers.some((answer) => valid(answer))) {
            await expect(bytes.check(JSON.stringify(schema))).rejects.toThrow(
              "minItems is more than there are prefixItems, and items is false",
            );
            continue;
          }
          for (const answer of [...answers, [true], [null, null], [null, true, [2]]])
            expect([await takes(schema, printJson(answer)), answer], JSON.stringify(schema)).toEqual([valid(answer), answer]);
        }
});

test("properties and values come in the order of the schema, also names that are whole numbers", async () => {
  const names = ["b", "10", "2", "a", "__proto__"];
  const constants = new Map(names.map((name, i) => [name, { const: i }]));
  const written = '{"b": 0, "10": 1, "2": 2, "a": 3, "__proto__": 4}';
  expect(await textsOf({ type: "object", properties: constants, required: names })).toEqual(new Set([written]));
  const value = new Map(names.map((name, i) => [name, i]));
  expect(await textsOf({ const: value })).toEqual(new Set([written]));
  expect(await textsOf({ enum: [[value], "x"] })).toEqual(new Set([`[${written}]`, '"x"']));
});

test("values are written as json.dumps writes them, wherever they stand", async () => {
  const value = { a: [1, 2.5, []], 'b"\\/': { c: null, d: {} }, e: "é\u007f\u0001\n\u2028😀/\ud800" };
  expect(await textsOf({ const: value })).toEqual(new Set([printJson(value)]));
  const answer = new Set([`{"x": [${printJson(value)}, ${printJson(value)}]}`]);
  const items = { type: "array", items: { enum: [value] }, minItems: 2, maxItems: 2 };
  expect(await textsOf({ type: "object", properties: { x: items }, required: ["x"] })).toEqual(answer);
});

test("a value with a slash is answered as it is written, and a string only as a whole", async () => {
  for (const text of ["N/A", "a/b.c*", "2024/01-02", "km/h (x)", "é/😀", "a/b[1]{2}|^$+?", "http://x.y/z?a=1&b#c"])
    expect(await textsOf({ enum: [text, "N-A"] })).toEqual(new Set([JSON.stringify(text), '"N-A"']));
});

test("of two bounds below, the higher one holds", async () => {
  const first = async (schema: object) => {
    const following = bytes.follow({ schema: JSON.stringify({ type: "integer", ...schema }) });
    const next = allowedIds((await following.allowed([]))!, 256).map((id) => String.fromCharCode(id));
    following.close();
    return next.filter((sign) => /[-\d]/.test(sign)).join("");
  };
  expect(await first({ minimum: 1, exclusiveMinimum: -1 })).toBe("123456789");
  expect(await first({ minimum: 1, exclusiveMinimum: -20 })).toBe("123456789");
  expect(await first({ minimum: 0, exclusiveMinimum: -100 })).toBe("0123456789");
});

test("as many values as are supported are made into a grammar in time", async () => {
  const following = grammars.follow({ schema: JSON.stringify({ enum: Array.from({ length: 500 }, (_, i) => `value number ${i * i}`) }) });
  expect(ids((await following.allowed([]))!).length).toBeGreaterThan(0);
  following.close();
});

const anyName = fc.oneof(fc.constantFrom("a", "b", "ä b", "", "$ref", "type", "1", "10", "2"), fc.string({ maxLength: 4 }));
/** Without objects that hide what the validator calls on each of them. */
const anyValue = fc.jsonValue({ maxDepth: 2 }).filter((value) => !/"(toString|valueOf)":/.test(JSON.stringify(value)));
const anySchema = fc.letrec<{ schema: object }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    fc.constantFrom({}, { type: "boolean" }, { type: "null" }, { type: ["integer", "null"] }, { type: "string", format: "date" }),
    fc.record({ type: fc.constant("integer"), minimum: fc.constantFrom(0, 1) }),
    fc.tuple(fc.integer(), fc.nat(20)).map(([least, more]) => ({ type: "integer", exclusiveMinimum: least - 1, maximum: least + more })),
    fc.record({ enum: fc.array(anyValue, { minLength: 1, maxLength: 4 }) }),
    fc.record({ const: anyValue }),
    fc.record({ anyOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
    fc
      .tuple(fc.dictionary(anyName, tie("schema"), { maxKeys: 4 }), fc.oneof(fc.boolean(), tie("schema")), fc.nat(4))
      .map(([properties, additionalProperties, some]) => ({
        ...{ type: "object", properties, additionalProperties },
        required: Object.keys(properties).slice(0, some),
      })),
    fc.record(
      {
        ...{ type: fc.constant("array"), items: tie("schema"), prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }) },
        ...{ minItems: fc.nat(3), maxItems: fc.nat(5) },
      },
      { requiredKeys: ["type"] },
    ),
  ),
})).schema;

test("whatever schema is not refused, its answers are valid", async () => {
  let walked = 0;
  await fc.assert(
    fc.asyncProperty(anySchema, fc.infiniteStream(fc.nat()), async (schema, draws) => {
      const text = JSON.stringify(schema);
      const accepted = await grammars.check(text).then(
        () => true,
        (error) => error.code !== "INVALID_REQUEST",
      );
      if (!accepted) return;
      const answer = await walk({ schema: text }, (may) => may[draws.next().value! % may.length]!).catch((error) => {
        expect(error.message, text).toContain("nothing may follow"); // a part in the middle can have no value
        return null;
      });
      if (answer === null) return;
      const valid = new Ajv2020({ strict: false, validateFormats: false }).compile(JSON.parse(text));
      expect([valid(JSON.parse(answer)), answer], text).toEqual([true, answer]);
      expect(answer.replace(/"(\\.|[^"\\])*"/g, "string"), text).toMatch(/^([^\s,:]|[,:] )*$/); // json.dumps' whitespace
      walked++;
    }),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 60) },
  );
  expect(walked).toBeGreaterThan(0);
});

const refused: readonly (readonly [unknown, string])[] = [
  [{ type: "string", pattern: "^a" }, "pattern is not supported"],
  [{ type: "string", maxLength: 5 }, "maxLength is not supported"],
  [{ type: "string", format: "uri" }, "format is not supported but as one of date,"],
  [{ type: "number", minimum: 0 }, "minimum is not supported beside number"],
  [{ type: "integer", multipleOf: 5 }, "multipleOf is not supported"],
  [{ type: "integer", minimum: 5, maximum: 3 }, "minimum leaves no number below the maximum"],
  [{ type: "integer", maximum: 3 }, "minimum is supported alone where it is 0 or 1, or with a maximum less than 500 above it"],
  [{ type: "integer", minimum: 5 }, "minimum is supported alone"],
  [{ type: "integer", minimum: 0, maximum: 500 }, "minimum is supported alone"],
  [{ type: "integer", minimum: 1e300 }, "minimum must be a whole number below 2^53"],
  [{ type: "array", uniqueItems: true }, "uniqueItems is not supported"],
  [{ type: "array", items: { not: {} } }, "items.not is not supported"],
  [{ type: "array", minItems: 3, maxItems: 2 }, "minItems is more than maxItems"],
  [{ type: "array", prefixItems: [] }, "prefixItems must be a list with at least one schema"],
  [{ type: "array", prefixItems: [{}], items: false, minItems: 2 }, "minItems is more than there are prefixItems, and items is false"],
  [object({ a: { type: "array", prefixItems: Array(32).fill({}) } }), "properties.a.prefixItems has more than the 500 places"],
  [{ type: "array", maxItems: 1e9 }, "minItems and maxItems must be whole numbers up to 1000"],
  [object({ a: { allOf: [{ type: "string" }, { type: "null" }] } }), "properties.a.allOf with more than one schema is not supported"],
  [{ type: "object", patternProperties: {} }, "patternProperties is not supported"],
  [{ type: "object", required: ["a"] }, "required must be a list of names that properties describes"],
  [{ type: "object", anyOf: [{}] }, "type is not supported beside anyOf"],
  [{ properties: {} }, "properties is not supported without a type beside it"],
  [object({ 'a"b': {} }), "properties has a name with a quote"],
  [{ $ref: "http://example.com/x" }, "$ref must be # or #/$defs/NAME"],
  [{ $ref: "#/$defs/x" }, "$ref must be # or #/$defs/NAME"],
  [{ type: "nonsense" }, "type must be string, number"],
  [{ type: null }, "type must be string, number"],
  [{ type: "string", enum: ["a", 5] }, "enum has a value that is not of the type beside it"],
  [{ enum: [] }, "enum must be a list with at least one value"],
  [{ enum: Array.from({ length: 501 }, (_, i) => i) }, "enum has more than the 500 values"],
  [{ $ref: "#" }, "the schema cannot be met"],
  [true, "the schema must be an object"],
  [object({ a: false }), "properties.a must be an object"],
  [nested(30), "lies deeper than the 24 levels"],
  [
    object(Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`a${i}`, { type: "array", maxItems: 1_000 }]))),
    "properties.a10.maxItems makes more than the 10000 items",
  ],
  [chain(60), "the schema is nested deeper than is supported"],
  [{ const: "x".repeat(40_000) }, "the schema is larger than the 32768 bytes"],
];
test.each(refused.map(([schema, message]) => [message, schema]))(
  "a schema that no answer can be held to is refused by name: %s",
  async (message, schema) => {
    await expect(grammars.check(JSON.stringify(schema))).rejects.toMatchObject({
      code: "INVALID_REQUEST",
      message: expect.stringContaining(message),
    });
  },
);

test.each([
  ['{"type":"number","enum":[-1e400]}', "enum.0"],
  [`{"const":1${"0".repeat(400)}}`, "const"],
  ['{"type":"object","properties":{"a":{"const":{"b":[0,{"c":1e309}]}}}}', "properties.a.const.b.1.c"],
])("a value that a double does not hold is refused by its place: %s", async (schema, place) => {
  const message = expect.stringContaining(`${place} must be a number that a double holds`);
  await expect(grammars.check(schema)).rejects.toMatchObject({ code: "INVALID_REQUEST", message });
});

test("of numbers that are held each is answered as it was written, and no other", async () => {
  const values = [0.1, 1 / 3, -1e-7, 5e-324, 123.456, 4503599627370495.5, 2 ** 53 - 1, 1 - 2 ** 53, 1e300, [0.7, { a: 1.1 }]];
  expect(await textsOf({ enum: values })).toEqual(new Set(values.map((value) => printJson(value))));
  const large = ["9007199254740993", "12345678901234567890", "-9007199254740993", "1.0"].map((text) => new JsonNumber(text));
  expect(await textsOf({ enum: large })).toEqual(new Set(large.map(({ text }) => text)));
});

test("a definition of a name that is ours is not taken for it", async () => {
  const a = { enum: ["x", "y"] };
  for (const other of [{ type: "integer" }, { enum: ["u"] }, { $ref: "#/$defs/a" }])
    expect(await textsOf({ $ref: "#/$defs/a", $defs: { a, "=1": other, "=2": other } })).toEqual(new Set(['"x"', '"y"']));
});

test.each<[string, (next: object) => object]>([
  ["anyOf", (next) => ({ anyOf: [next] })],
  ["allOf", (next) => ({ allOf: [next] })],
  ["objects", (next) => object({ a: next })],
  ["arrays", (next) => ({ type: "array", items: next })],
  ["definitions", (next) => next],
])("a chain of %s of any length is answered to by the thread that was there", async (_, link) => {
  await grammars.check("{}");
  let threads = 0;
  const count = () => void threads++;
  process.on("worker", count);
  const outcomes: boolean[] = [];
  for (let length = 8; length <= 112; length += 4) {
    const definitions = Array.from({ length }, (_, i) => [`d${i}`, link({ $ref: `#/$defs/d${i + 1}` })]);
    const $defs = { ...Object.fromEntries(definitions), [`d${length}`]: { type: "integer" } };
    const checked = grammars.check(JSON.stringify({ $ref: "#/$defs/d0", $defs }));
    outcomes.push(await checked.then(() => true).catch(({ code }) => (code === "INVALID_REQUEST" ? false : Promise.reject(code))));
  }
  process.off("worker", count);
  expect([threads, outcomes[0], outcomes.at(-1)]).toEqual([0, true, false]);
});

test("a schema that would take the library along costs the others nothing but time", async () => {
  const following = grammars.follow({ schema: '{"type":"array","items":{"type":"integer"}}' });
  const answer: number[] = [];
  for (const length of [32, 200]) {
    const before = ids((await following.allowed(answer))!);
    await expect(grammars.check(JSON.stringify(chain(length)))).rejects.toMatchObject({ code: "INVALID_REQUEST" });
    expect(ids((await following.allowed(answer))!)).toEqual(before);
    answer.push(before.find((id) => !tokenizer.stopIds.has(id))!);
  }
  following.close();
});
