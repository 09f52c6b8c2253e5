import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { JsonNumber, type Printable, printJson } from "../../../../services/shared/engine/chat/python-json.ts";
import { Grammars } from "../../../../services/shared/engine/grammar/grammars.ts";
import { allowedIds } from "../../../support/allowed-ids.ts";
import { byteVocabulary } from "../../../support/byte-grammar.ts";

const bytes = new Grammars(byteVocabulary, { compileMs: 20_000, nextMs: 20_000 });
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

test("an object has none but the properties that are described, whatever else is allowed", async () => {
  const properties = { a: { const: 1 }, ab: { const: 2 }, b: { const: 1 } };
  for (const more of [{}, { additionalProperties: true }, { additionalProperties: { type: "null" } }]) {
    const schema = { type: "object", properties, required: ["b"], ...more };
    expect(await textsOf(schema)).toEqual(new Set(['{"b": 1}', '{"a": 1, "b": 1}', '{"ab": 2, "b": 1}', '{"a": 1, "ab": 2, "b": 1}']));
  }
});

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
              "minItems is more than the number of prefixItems, and items is false",
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
