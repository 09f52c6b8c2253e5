import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { Grammars } from "../../../../services/shared/engine/grammar/grammars.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { byteVocabulary, takesBytes, walkBytes } from "../../../support/byte-grammar.ts";
import { testSeed } from "../../../support/seed.ts";

const bytes = new Grammars(byteVocabulary, { compileMs: 20_000, nextMs: 20_000 });
afterAll(() => bytes.close());

const takes = (schema: object, text: string | Uint8Array) => takesBytes(bytes, schema, text);
const unlimited = Number.POSITIVE_INFINITY;
const anyCharacter = fc.oneof(
  fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  fc.constantFrom('"', "\\", "\n", "\u0000", "\u001f", "\u007f", "é", "\ud7ff", "\ue000", "\uffff", "😀", "\u{10ffff}", "/"),
);

test("a string is as long as minLength and maxLength allow, in code points, whatever these are", async () => {
  const limits = fc.tuple(fc.oneof(fc.nat(4), fc.nat(120)), fc.oneof(fc.nat(4), fc.nat(120)), fc.boolean(), fc.boolean());
  await fc.assert(
    fc.asyncProperty(limits, fc.array(anyCharacter, { minLength: 1, maxLength: 9 }), async ([least, more, below, above], some) => {
      const schema = { type: "string", ...(below && { minLength: least }), ...(above && { maxLength: least + more }) };
      const [from, to] = [below ? least : 0, above ? least + more : unlimited];
      for (const length of new Set(
        [0, from - 1, from, from + 1, to - 1, to, to + 1, 23, 24, 25, 48, 49].filter((n) => n >= 0 && n < unlimited),
      )) {
        const text = Array.from({ length }, (_, i) => some[i % some.length]!).join("");
        expect(await takes(schema, JSON.stringify(text)), `${length} of ${JSON.stringify(schema)}`).toBe(length >= from && length <= to);
      }
    }),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 15) },
  );
});

test("every character that UTF-8 has may come in a bounded string, and no bytes that are none", async () => {
  const one = { type: "string", minLength: 1, maxLength: 1 };
  const edges = [
    0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xcfff, 0xd000, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff,
  ];
  for (const code of [...Array(128).keys(), ...edges])
    expect(await takes(one, JSON.stringify(String.fromCodePoint(code))), code.toString(16)).toBe(true);
  for (const hex of [
    "80",
    "ff",
    "c080",
    "c1bf",
    "e08080",
    "e09fbf",
    "eda080",
    "edbfbf",
    "f0808080",
    "f08fbfbf",
    "f4908080",
    "f5808080",
    "c3",
    "e282",
  ])
    expect(await takes(one, Buffer.from(`22${hex}22`, "hex")), hex).toBe(false);
  for (const spelling of ['"\\/"', '"\\u0041"', '"\\u000a"', '"\\u001F"', '"\\ud83d\\ude00"', '"\n"'])
    expect(await takes(one, spelling), spelling).toBe(false); // each has the one that json.dumps writes
});

test("whatever is drawn, a bounded string has a length within its bounds", async () => {
  const random = seededRandom(testSeed());
  for (let round = 0; round < 8; round++) {
    const least = random.u32() % 12;
    const schema = {
      type: "object",
      properties: { a: { type: "string", minLength: least, maxLength: least + (random.u32() % 60) } },
      required: ["a"],
    };
    const text = await walkBytes(bytes, schema, random);
    const length = [...JSON.parse(text).a].length;
    expect([length >= least, length <= schema.properties.a.maxLength], text).toEqual([true, true]);
  }
});

test("a long string costs no more than a short one, and is as long as it may", async () => {
  const schema = { type: "string", minLength: 9_999, maxLength: 10_000 };
  for (const [length, may] of [
    [9_998, false],
    [9_999, true],
    [10_000, true],
    [10_001, false],
  ] as const)
    expect(await takes(schema, JSON.stringify("é".repeat(length))), String(length)).toBe(may);
});

test("the same bounds cost their expression once, however many strings have them", async () => {
  const properties = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`p${i}`, { type: "string", minLength: 1 }]));
  await bytes.check(JSON.stringify({ type: "array", items: { anyOf: Array(200).fill({ type: "string", maxLength: 5 }) } }));
  await bytes.check(JSON.stringify({ type: "object", properties, required: Object.keys(properties) }));
});
