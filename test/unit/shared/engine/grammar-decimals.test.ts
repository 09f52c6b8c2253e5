import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { Grammars } from "../../../../services/shared/engine/grammar/grammars.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { byteVocabulary, takesBytes, walkBytes } from "../../../support/byte-grammar.ts";
import { testSeed } from "../../../support/seed.ts";

const bytes = new Grammars(byteVocabulary, { compileMs: 20_000, nextMs: 20_000 });
afterAll(() => bytes.close());

const bound = fc.oneof(
  fc.integer({ min: -120, max: 120 }),
  fc.integer({ min: -5_000, max: 5_000 }).map((parts) => parts / 100),
  fc.double({ min: -2, max: 2, noNaN: true }),
  fc.double({ min: -1e15, max: 1e15, noNaN: true }),
  fc.constantFrom(0, -0, 1, 0.1, 1e-16, -1e-7, 1e300, -1e300),
);
const bounded = fc
  .record({ minimum: bound, maximum: bound, exclusiveMinimum: bound, exclusiveMaximum: bound }, { requiredKeys: [] })
  .map((bounds) => ({ type: "number", ...bounds }));

/** How a number with bounds is written: without an exponent, at most 17 digits behind the point. */
const isWritten = (text: string) => /^-?(0|[1-9]\d{0,15})(\.\d{1,17})?$/.test(text) && !/^-0(\.0*)?$/.test(text);

const isShortest = (text: string) => String(Number(text)) === text.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

/** Decimals that lie at, right above and right below `value`, with zeros behind them and without. */
function around(value: number): string[] {
  const shifted = [value, value - 1, value + 1, value - 0.01, value + 0.01, value * (1 + 2 ** -52), value * (1 - 2 ** -52), value / 10];
  const plain = shifted.map(String).filter((text) => !text.includes("e"));
  const longer = plain.flatMap((text) =>
    text.includes(".")
      ? ["0", "1", "9"].map((digit) => text + digit)
      : [".0", ".000", ".5", ".00000000000000001", ".99999999999999999"].map((digits) => text + digits),
  );
  return [...plain, ...longer];
}

test("a number is taken exactly where a validator takes it, in its shortest form and with zeros behind it; in a longer form only if that is valid", async () => {
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(bounded, async (schema) => {
      const valid = new Ajv2020({ strict: false }).compile(schema);
      const bounds = Object.values(schema).filter((value) => typeof value === "number");
      if (bounds.length === 0 || !(await accepted(schema))) return;
      for (const text of [...new Set([...bounds, 0, 0.5].flatMap(around))].filter(isWritten)) {
        const takes = await takesBytes(bytes, schema, text);
        if (takes) taken++;
        if (takes || isShortest(text)) expect([takes, text], JSON.stringify(schema)).toEqual([valid(Number(text)), text]);
      }
    }),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 15) },
  );
  expect(taken).toBeGreaterThan(0);
});

const accepted = (schema: object) =>
  bytes.check(JSON.stringify(schema)).then(
    () => true,
    (error) => {
      expect(error.message).toContain("leaves no number within the bounds");
      return false;
    },
  );

test("whatever is drawn, a number holds its bounds and is written without an exponent", async () => {
  const random = seededRandom(testSeed());
  const draw = (): number => ((random.u32() % 2_001) - 1_000) / 10 ** (random.u32() % 5);
  for (let round = 0; round < 25; round++) {
    const [a, b] = [draw(), draw()].sort((x, y) => x - y) as [number, number];
    if (a === b) continue;
    const schema = {
      type: "number",
      [random.u32() % 2 ? "minimum" : "exclusiveMinimum"]: a,
      [random.u32() % 2 ? "maximum" : "exclusiveMaximum"]: b,
    };
    const valid = new Ajv2020({ strict: false }).compile(schema);
    const text = await walkBytes(bytes, schema, random, 6);
    expect([valid(JSON.parse(text)), isWritten(text)], `${text} of ${JSON.stringify(schema)}`).toEqual([true, true]);
  }
});

test("what is read as an exclusive bound does not come, however it is written", async () => {
  const open = { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 };
  for (const text of ["0", "0.0", "-0", "-0.0", "0.000", "1", "1.0", "1.000", "0.99999999999999999", "00.5", ".5", "5e-1", "1e-1", "0."])
    expect(await takesBytes(bytes, open, text), text).toBe(false);
  for (const text of ["0.5", "0.50", "0.10", "0.9999999999999999", "0.00000000000000001"])
    expect(await takesBytes(bytes, open, text), text).toBe(true);
  const tenth = { type: "number", exclusiveMinimum: 0.1, maximum: 0.3 };
  for (const [text, may] of [
    ["0.1", false],
    ["0.10", false],
    ["0.10000000000000001", false],
    ["0.10000000000000002", true],
    ["0.3", true],
    ["0.300", true],
    ["0.30000000000000004", false],
  ] as const)
    expect(await takesBytes(bytes, tenth, text), text).toBe(may);
});
