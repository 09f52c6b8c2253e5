import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
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
  { type: "integer", minimum: -Number.MAX_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER },
  { type: "integer", maximum: -1001 },
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
  chain(200),
  object({ 'a"b\\\n': { type: "null" } }, { required: ['a"b\\\n'] }),
  { enum: ["\udc00a", "\ud83d"] },
  { type: "array", prefixItems: Array(100).fill({ type: "null" }) },
  { type: "string", format: "email", maxLength: 12 },
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
        expect(error.message, text).toContain("no token of this model can continue"); // a part in the middle can have no value
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

/** Whether the schema lets an answer be `text`, to its end. */
async function lets(schema: object, text: string): Promise<boolean> {
  const following = grammars.follow({ schema: JSON.stringify(schema) });
  const answer: number[] = [];
  try {
    for (const id of await tokenizer.encode(text)) {
      if (!ids((await following.allowed(answer))!).includes(id)) return false;
      answer.push(id);
    }
    return ids((await following.allowed(answer))!).some((id) => tokenizer.stopIds.has(id));
  } finally {
    following.close();
  }
}

const whole = fc.oneof(fc.integer({ min: -1_100, max: 1_100 }), fc.maxSafeInteger());
test("whole numbers are held to any bounds, those that are open too, and to nothing else", async () => {
  const bounded = fc.tuple(
    fc.option(whole),
    fc.option(whole),
    fc.array(fc.oneof(whole, fc.integer({ min: -3, max: 3 })), { maxLength: 6 }),
  );
  await fc.assert(
    fc.asyncProperty(bounded, async ([a, b, drawn]) => {
      const [least, most] = a !== null && b !== null && a > b ? [b, a] : [a, b];
      const schema = { type: "integer", ...(least !== null && { minimum: least }), ...(most !== null && { maximum: most }) };
      const near = [least, most].flatMap((bound) => (bound === null ? [] : [bound - 1, bound, bound + 1, bound * 10]));
      for (const number of [...drawn, ...near].filter(Number.isSafeInteger)) {
        const inside = number >= (least ?? Number.NEGATIVE_INFINITY) && number <= (most ?? Number.POSITIVE_INFINITY);
        expect(await lets(schema, String(number)), `${number} of ${JSON.stringify(schema)}`).toBe(inside);
      }
    }),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 40) },
  );
});

test("the bounds that zod puts around every integer cost their parts once, however many there are", async () => {
  const integer = { type: "integer", minimum: -Number.MAX_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER };
  const many = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`n${i}`, integer]));
  await grammars.check(JSON.stringify(object(many, { required: Object.keys(many) })));
});

const refused: readonly (readonly [unknown, string])[] = [
  [{ type: "string", enum: ["a"], pattern: "^a" }, "pattern is not supported beside enum"],
  [{ type: "string", format: "date", maxLength: 5 }, "format leaves no string that can be answered"],
  [{ type: "string", minLength: 6, maxLength: 5 }, "minLength is more than maxLength"],
  [{ type: "string", maxLength: 10_001 }, "maxLength must be a whole number up to 10000"],
  [{ type: "string", minLength: 0.5 }, "minLength must be a whole number up to 10000"],
  [{ type: "string", format: "uri" }, "format must be one of date,"],
  [{ type: "number", minimum: 2, maximum: 1 }, "minimum leaves no number within the bounds"],
  [
    { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1e-17 },
    "exclusiveMinimum leaves no number within the bounds that has at most",
  ],
  [
    { type: "number", minimum: 1e16 },
    "minimum leaves no number within the bounds that has at most 16 digits before the point and 17 behind it",
  ],
  [{ type: "number", maximum: "1" }, "maximum must be a number that a double holds"],
  [{ type: "number", multipleOf: 0.5 }, "multipleOf is not supported"],
  [{ type: "integer", multipleOf: 5 }, "multipleOf is not supported"],
  [{ type: "integer", minimum: 5, maximum: 3 }, "minimum leaves no number within the bounds"],
  [{ type: "integer", exclusiveMinimum: 5, exclusiveMaximum: 5 }, "exclusiveMinimum leaves no number within the bounds"],
  [
    { anyOf: Array.from({ length: 200 }, (_, i) => ({ type: "integer", maximum: 123_456_789 + i * 7_919 })) },
    ".maximum makes more than the 500",
  ],
  [{ anyOf: Array.from({ length: 11 }, () => ({ type: "array", minItems: 1_000 })) }, "anyOf.10.minItems makes more than the 10000 items"],
  [
    { anyOf: Array.from({ length: 30 }, (_, i) => ({ type: "string", format: "ipv6", maxLength: 30 + i })) },
    ".format makes more than the 4000 states of all strings",
  ],
  [{ type: "string", pattern: "[a-z]{700}" }, "pattern is more complicated than is supported, alone or with the patterns before it"],
  [
    object(
      Object.fromEntries(
        Array.from({ length: 60 }, (_, i) => [`n${i}`, { type: "integer", minimum: i + 2, maximum: 8_765_432_187_654_321 - i }]),
      ),
    ),
    "minimum makes more than the 500 values and parts of ranges",
  ],
  [{ type: "integer", minimum: 1e300 }, "minimum must be a whole number below 2^53"],
  [{ type: "array", uniqueItems: true }, "uniqueItems is not supported"],
  [{ type: "array", items: { not: {} } }, "items.not is not supported"],
  [{ type: "array", minItems: 3, maxItems: 2 }, "minItems is more than maxItems"],
  [{ type: "array", prefixItems: [] }, "prefixItems must be a list with at least one schema"],
  [{ type: "array", prefixItems: [{}], items: false, minItems: 2 }, "minItems is more than the number of prefixItems, and items is false"],
  [{ type: "array", maxItems: 1e9 }, "maxItems must be a whole number up to 1000"],
  [object({ a: { allOf: [{ type: "string" }, { type: "null" }] } }), "properties.a.allOf with more than one schema is not supported"],
  [{ type: "object", patternProperties: {} }, "patternProperties is not supported"],
  [{ type: "object", required: ["a"] }, "required must be a list of names in properties"],
  [{ type: "object", anyOf: [{}] }, "type is not supported beside anyOf"],
  [{ properties: {} }, "properties is not supported without a type beside it"],
  [{ $ref: "http://example.com/x" }, "$ref must be # or #/$defs/NAME"],
  [{ $ref: "#/$defs/x" }, "$ref must be # or #/$defs/NAME"],
  [{ type: "nonsense" }, "type must be string, number"],
  [{ type: null }, "type must be string, number"],
  [{ type: "string", enum: ["a", 5] }, "enum has a value that is not of the type beside it"],
  [{ enum: [] }, "enum must be a list with at least one value"],
  [{ enum: Array.from({ length: 501 }, (_, i) => i) }, "enum has more than the 500 values"],
  [{ $ref: "#" }, "the schema cannot be met"],
  [object({ a: { $ref: "#" } }, { required: ["a"] }), "the schema cannot be met"],
  [true, "the schema must be an object"],
  [object({ a: false }), "properties.a must be an object"],
  [nested(30), "lies deeper than the 24 levels"],
  [
    object(Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`a${i}`, { type: "array", maxItems: 1_000 }]))),
    "properties.a10.maxItems makes more than the 10000 items",
  ],
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

test.each<[string, (next: object) => object]>([
  ["anyOf", (next) => ({ anyOf: [next] })],
  ["allOf", (next) => ({ allOf: [next] })],
  ["objects", (next) => object({ a: next })],
  ["arrays", (next) => ({ type: "array", items: next })],
  ["definitions", (next) => next],
])("a chain of %s of any length is answered to", async (_, link) => {
  for (let length = 8; length <= 232; length += 56) {
    const definitions = Array.from({ length }, (_, i) => [`d${i}`, link({ $ref: `#/$defs/d${i + 1}` })]);
    const $defs = { ...Object.fromEntries(definitions), [`d${length}`]: { type: "integer" } };
    await grammars.check(JSON.stringify({ $ref: "#/$defs/d0", $defs }));
  }
});
