import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import * as z from "zod";
import { COST_MAX } from "../../../../services/shared/engine/grammar/cost.ts";
import { Kept } from "../../../../services/shared/engine/grammar/kept.ts";
import { Masks } from "../../../../services/shared/engine/grammar/masks.ts";
import { networkOf } from "../../../../services/shared/engine/grammar/network.ts";
import { readSchema } from "../../../../services/shared/engine/grammar/schema.ts";
import type { Stacks } from "../../../../services/shared/engine/grammar/stacks.ts";
import { type Trie, triesOf, type Vocabulary } from "../../../../services/shared/engine/grammar/trie.ts";
import { TokenBytes } from "../../../../services/shared/engine/tokenizer/bytes.ts";
import { Tokenizer } from "../../../../services/shared/engine/tokenizer/tokenizer.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { allowedIds } from "../../../support/allowed-ids.ts";
import { testSeed } from "../../../support/seed.ts";

let vocabulary: Vocabulary;
let tries: readonly Trie[];
let tokens: TokenBytes;
beforeAll(async () => {
  const tokenizer = await Tokenizer.load("deploy/models/yardlog");
  vocabulary = tokenizer.vocabulary();
  await tokenizer.close();
  tries = triesOf(vocabulary);
  tokens = new TokenBytes(vocabulary.table);
});

const masksOf = (schema: object, kept = new Kept()) =>
  new Masks(networkOf(readSchema(JSON.stringify(schema))), tries, vocabulary.vocabSize, kept);
const statesOf = (schema: object) => networkOf(readSchema(JSON.stringify(schema))).states.length;

/** Byte by byte; null: it leads nowhere. */
const after = ({ reader }: Masks, bytes: Uint8Array, from: Stacks | null = reader.start()): Stacks | null => {
  reader.cost.begin(COST_MAX);
  return bytes.reduce<Stacks | null>((at, byte) => at && reader.step(at, byte), from);
};

const object = (properties: object) => ({ type: "object", properties, required: Object.keys(properties) });
const schemas: readonly object[] = [
  {},
  object({ a: { type: "string" }, "b é": { type: "string", maxLength: 9 } }),
  { type: "string", minLength: 3, maxLength: 40 },
  { type: "string", minLength: 50 },
  { type: "string", minLength: 2, maxLength: 30, pattern: "^([a-z]+ ?)+$" },
  z.toJSONSchema(z.object({ to: z.email().max(30) })),
  {
    type: "array",
    items: object({ n: { type: "integer", minimum: -12, maximum: 1234 }, at: { type: "string", format: "date" } }),
    maxItems: 4,
  },
  {
    anyOf: [
      { type: "array", items: { $ref: "#" } },
      { type: "array", items: { $ref: "#" }, minItems: 2 },
      { enum: ["a20", "a10", "a19", 7] },
    ],
  },
  { type: "number", minimum: -0.25, maximum: 10 },
];

test.each(schemas.map((schema) => [JSON.stringify(schema), schema]))(
  "a token may follow exactly where its bytes lead somewhere, whether much is kept or nothing: %s",
  (_, schema) => {
    const random = seededRandom(testSeed());
    const [roomy, bare] = [masksOf(schema), masksOf(schema, new Kept(0))];
    for (let at = roomy.reader.start(), same = bare.reader.start(), length = 0; length < 25; length++) {
      const may = allowedIds(roomy.after(at), vocabulary.vocabSize);
      expect(may).toEqual(allowedIds(bare.after(same), vocabulary.vocabSize));
      const isToken = (id: number) => !tokens.isSpecial(id) && tokens.of(id).length > 0;
      const leads = Array.from({ length: vocabulary.vocabSize }, (_, id) => id).filter(
        (id) => isToken(id) && after(roomy, tokens.of(id), at) !== null,
      );
      expect(may).toEqual(leads);
      if (may.length === 0) break;
      const id = may[random.u32() % may.length]!;
      at = after(roomy, tokens.of(id), at)!;
      same = after(bare, tokens.of(id), same)!;
    }
  },
);

test("bounds of strings make no states, whatever they are", () => {
  const email = { type: "string", format: "email" };
  expect(statesOf({ ...email, maxLength: 254 })).toBe(statesOf(email));
  expect(statesOf({ type: "string", maxLength: 10_000 })).toBe(statesOf({ type: "string", minLength: 1, maxLength: 2 }));
});

test("as long as a string is far from its bounds, one mask is all that is made", () => {
  for (const bounds of [{ maxLength: 10_000 }, { minLength: 9_000, maxLength: 10_000 }, { maxLength: 10_000, pattern: "^[a-z]*$" }]) {
    const kept = new Kept();
    const masks = masksOf({ type: "string", ...bounds }, kept);
    const at = (length: number) => masks.after(after(masks, Buffer.from(`"${"x".repeat(length)}`))!);
    const first = at(100);
    const before = kept.bytes;
    expect(at(200)).toEqual(first);
    const stacks = kept.bytes - before;
    expect(at(300)).toEqual(first);
    expect(kept.bytes - before - stacks).toBeLessThanOrEqual(stacks); // only those of the way there
    expect(stacks).toBeLessThan(101 * 200);
  }
});

test("choices that are told apart late are not more from level to level", () => {
  const array = { type: "array", items: { $ref: "#" } };
  const masks = masksOf({ anyOf: [array, array, { ...array, maxItems: 3 }] });
  const sizes = [2, 50, 500].map((depth) => after(masks, Buffer.from("[".repeat(depth)))!.stacks.length);
  expect(sizes[1]).toBe(sizes[0]);
  expect(sizes[2]).toBe(sizes[0]);
});

test("what is kept is forgotten when it is too much, and an answer goes on", () => {
  const kept = new Kept(100_000);
  const masks = masksOf({ type: "string", maxLength: 200 }, kept);
  const fresh = masksOf({ type: "string", maxLength: 200 });
  const turns = new Set<number>();
  for (let at = masks.reader.start(), length = -1; length < 200; length++) {
    expect(masks.after(at)).toEqual(fresh.after(after(fresh, Buffer.from(length < 0 ? "" : `"${"x".repeat(length)}`))!));
    turns.add(kept.turn);
    at = after(masks, Buffer.from(length < 0 ? '"' : "x"), at)!;
  }
  expect(turns.size).toBeGreaterThan(2);
});

test("a vocabulary's tokens are all in its trees, also those of the same bytes and of any length", () => {
  const any = fc.array(fc.uint8Array({ maxLength: 30 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(any, (texts) => {
      const starts = [0];
      for (const text of texts) starts.push(starts.at(-1)! + text.length);
      const table = { block: Uint8Array.from(texts.flatMap((text) => [...text])), starts: Int32Array.from(starts), special: [0] };
      const mask = new Uint32Array(2);
      for (const trie of triesOf({ table, stopIds: [], vocabSize: texts.length }))
        for (let node = 0; node < trie.size; node++) trie.allow(node, mask);
      const written = texts.flatMap((text, id) => (text.length > 0 && id > 0 ? [id] : []));
      expect(allowedIds(mask, texts.length)).toEqual(written);
    }),
  );
});
