import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Answer } from "../../../../services/shared/engine/grammar/answer.ts";
import { COST_MAX } from "../../../../services/shared/engine/grammar/cost.ts";
import { Grammars } from "../../../../services/shared/engine/grammar/grammars.ts";
import { Kept } from "../../../../services/shared/engine/grammar/kept.ts";
import { Masks } from "../../../../services/shared/engine/grammar/masks.ts";
import { networkOf } from "../../../../services/shared/engine/grammar/network.ts";
import { readSchema } from "../../../../services/shared/engine/grammar/schema.ts";
import { triesOf, type Vocabulary } from "../../../../services/shared/engine/grammar/trie.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";

/** Each byte, and 30,000 words of eight letters: there are many to look at. */
const vocabulary = wordy(30_000);
const tries = triesOf(vocabulary);
const masksOf = (schema: object) => new Masks(networkOf(readSchema(JSON.stringify(schema))), tries, vocabulary.vocabSize, new Kept());
const answerOf = (masks: Masks) => new Answer(masks, (id) => Uint8Array.of(id), []);

let grammars: Grammars;
beforeAll(() => {
  grammars = new Grammars(vocabulary, { compileMs: 60_000, nextMs: 60_000 });
});
afterAll(() => grammars.close());

/** Each counts letters of its own, so what one has read of all of them is nearly all that was written. */
const counting = (count: number) => ({
  anyOf: Array.from({ length: count }, (_, i) => {
    const [one, other] = [String.fromCharCode(97 + (i % 26)), String.fromCharCode(97 + ((i * 7 + 3) % 26))];
    const neither = `[^${one}${other}]*`;
    return { type: "string", pattern: `^${neither}(${`[${one}${other}]${neither}`.repeat(2 + (i % 3))})*$` };
  }),
});
const strings = (count: number) => ({ anyOf: Array.from({ length: count }, (_, i) => ({ type: "string", maxLength: 20 + i })) });
const inObject = (a: object) => ({ type: "object", properties: { a }, required: ["a"] });
const tooMany = { code: "INVALID_REQUEST", message: expect.stringContaining("too many ways") };

test("what is asked for ahead is what comes when the answer has got there; it ends where a token may not come, or a mask has cost enough", () => {
  const answer = answerOf(masksOf(inObject({ maxLength: 6, type: "string" })));
  answer.take([...Buffer.from('{"a')]);
  const draft = [...Buffer.from('": "xy!"')];
  const ahead = answer.ahead(draft);
  for (const [i, id] of draft.entries()) {
    answer.take([id]);
    expect(answer.allowed(), `behind ${i}`).toEqual(ahead[i]);
  }
  expect(answer.ahead([...Buffer.from(" }")])).toHaveLength(0); // one line: no space there
  expect(answer.ahead([...Buffer.from("}")])).toHaveLength(0); // and nothing behind the end, of a vocabulary without one
  const masks = masksOf(counting(60));
  expect(answerOf(masks).ahead([...Buffer.from('"a')])).toHaveLength(0);
  expect(masks.reader.cost.steps).toBeLessThan(COST_MAX * 1.01);
});

test("a token of an answer that can be read in too many ways is refused for what it costs, each time", () => {
  const masks = masksOf(counting(60));
  for (let time = 0; time < 2; time++) {
    const answer = answerOf(masks);
    answer.take([...Buffer.from('"')]);
    expect(() => answer.allowed()).toThrow("too many ways");
    expect(masks.reader.cost.steps).toBeLessThan(COST_MAX * 1.01);
  }
});

test("who sends such a schema is told before an answer is begun, and ordinary choices are taken", async () => {
  for (const schema of [counting(60), inObject(counting(60)), inObject({ type: "array", items: counting(60) })])
    await expect(grammars.check(JSON.stringify(schema))).rejects.toMatchObject(tooMany);
  const union = Array.from({ length: 50 }, (_, i) => ({ ...inObject({ const: i }) }));
  for (const schema of [counting(4), inObject(strings(12)), { anyOf: union }]) await grammars.check(JSON.stringify(schema));
});

test("among many optional properties a token looks behind none of them, and once behind each that may end", () => {
  const names = Array.from({ length: 300 }, (_, i) => `customer_${i.toString(36)}`);
  const masks = masksOf({ type: "object", properties: Object.fromEntries(names.map((name) => [name, {}])) });
  const behind = vi.spyOn(masks.reader, "behind");
  const looks: number[] = [];
  for (let time = 0; time < 2; time++) {
    const answer = answerOf(masks);
    for (const text of ['{"customer_', "1", '": 1', ', "cust', "omer_2"]) {
      answer.take([...Buffer.from(text)]);
      answer.allowed();
      looks.push(behind.mock.calls.length);
      behind.mockClear();
    }
  }
  expect(looks.slice(0, 2).concat(looks.slice(3, 4))).toEqual([0, 0, 0]);
  expect(Math.max(...looks)).toBeLessThan(10);
  expect(looks.slice(5), "the second time").toEqual([0, 0, 0, 0, 0]);
});

test("what it costs to begin many rules at one place grows with them, not with their square", () => {
  const costs = [100, 400].map((count) => {
    const names = Array.from({ length: count }, (_, i) => `p${i}`);
    const masks = masksOf({ type: "object", properties: Object.fromEntries(names.map((name) => [name, { type: "null" }])) });
    answerOf(masks).take([...Buffer.from('{"p0": null')]);
    return masks.reader.cost.steps;
  });
  expect(costs[1]! / costs[0]!).toBeLessThan(6);
});

test("an answer may lie a thousand levels deep, and is refused where it goes on and on", () => {
  for (const [schema, opening] of [
    [{ type: "array", items: { $ref: "#" } }, "["],
    [{ type: "object" }, '{"a": '],
  ] as const) {
    const answer = answerOf(masksOf(schema));
    answer.take([...Buffer.from(opening.repeat(1_000))]);
    expect(() => answer.take([...Buffer.from(opening.repeat(9_000))])).toThrow("nested deeper than 4000 levels");
  }
});

test("grammars of answers under way are counted, and a new one is taken once there is room", async () => {
  const number = (i: number, k: number) => ({
    type: "number",
    minimum: -(0.12345678901234 + (i + k) / 97),
    maximum: 1.23456789 + (i + k) / 89,
  });
  const follow = (k: number) => grammars.follow({ schema: JSON.stringify({ anyOf: Array.from({ length: 130 }, (_, i) => number(i, k)) }) });
  const [first, second, third] = [follow(0), follow(1), follow(2)];
  await first.allowed([]);
  await second.allowed([]);
  await expect(third.allowed([])).rejects.toMatchObject({ code: "OVERLOADED" });
  first.close();
  await third.allowed([]);
});

function wordy(words: number): Vocabulary {
  const random = seededRandom(1);
  const letters = () => Array.from({ length: 8 }, () => 97 + (random.u32() % 26));
  const texts = [...Array.from({ length: 256 }, (_, byte) => [byte]), ...Array.from({ length: words }, letters)];
  const starts = [0];
  for (const text of texts) starts.push(starts.at(-1)! + text.length);
  return {
    table: { block: Uint8Array.from(texts.flat()), starts: Int32Array.from(starts), special: [] },
    stopIds: [],
    vocabSize: texts.length,
  };
}
