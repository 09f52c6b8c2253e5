import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import * as z from "zod";
import { Grammars } from "../../../../services/shared/engine/grammar/grammars.ts";
import { readSchema } from "../../../../services/shared/engine/grammar/schema.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { byteVocabulary, takesBytes, walkBytes } from "../../../support/byte-grammar.ts";
import { testSeed } from "../../../support/seed.ts";

const bytes = new Grammars(byteVocabulary, { compileMs: 20_000, nextMs: 20_000 });
afterAll(() => bytes.close());

const validator = (schema: object) => new Ajv2020({ strict: false, validateFormats: false, unicodeRegExp: true }).compile(schema);

const characters = ["a", "b", "z", "0", "9", "_", " ", "-", '"', "\\", "\n", "\u0001", "\u2028", "é", "ê", "€", "₭", "↬", "😀", "\ufeff"];
const atom = fc.oneof(
  fc.constantFrom(
    "a",
    "b",
    "é",
    "😀",
    ".",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\n",
    '"',
    "\\\\",
    "\\/",
    "\\u{1f600}",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\x41",
    "\\cJ",
    "\\0",
    "\\.",
  ),
  fc.constantFrom(
    "[ab]",
    "[^a]",
    "[a-z0-9]",
    "[^\\s\\d]",
    "[é-↬]",
    "[^é😀]",
    "[€₭]",
    "[\\w-]",
    '["\\\\\\]]',
    "[\\b]",
    "[^]",
    "[-a]",
    "[\\u0000-\\u001f]",
  ),
);
const quantifier = fc.constantFrom("", "", "?", "*", "+", "*?", "+?", "??", "{2}", "{1,3}", "{2,}", "{0,2}?");
const pattern = fc
  .letrec<{ choices: string; parts: string; part: string }>((tie) => ({
    choices: fc.array(tie("parts"), { minLength: 1, maxLength: 3 }).map((choices) => choices.join("|")),
    parts: fc.array(tie("part"), { maxLength: 3 }).map((parts) => parts.join("")),
    part: fc.oneof(
      { maxDepth: 3, depthSize: "small" },
      fc.tuple(atom, quantifier).map((parts) => parts.join("")),
      fc.tuple(fc.constantFrom("(", "(?:"), tie("choices"), quantifier).map(([open, choices, times]) => `${open}${choices})${times}`),
    ),
  }))
  .choices.chain((choices) => fc.constantFrom(choices, `^(?:${choices})$`, `^${choices}`, `^${choices}$`));

test("a string is taken exactly where a validator's pattern takes it, whatever the pattern", async () => {
  const anyText = fc.array(fc.oneof(fc.constantFrom(...characters), fc.string({ unit: "binary", minLength: 1, maxLength: 1 })), {
    maxLength: 5,
  });
  const sure = pattern.filter((text) => accepts(text));
  let [took, refused] = [0, 0];
  await fc.assert(
    fc.asyncProperty(sure, fc.array(anyText, { minLength: 4, maxLength: 12 }), async (text, drawn) => {
      const schema = { type: "string", pattern: text };
      const valid = validator(schema);
      for (const letters of drawn) {
        const value = letters.join("");
        const takes = await takesBytes(bytes, schema, JSON.stringify(value));
        expect([takes, value], JSON.stringify(schema)).toEqual([valid(value), value]);
        if (takes) took++;
        else refused++;
      }
    }),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 15) },
  );
  expect([took > 0, refused > 0]).toEqual([true, true]);
});

/** Whether it can be read; what cannot be is a mistake of the generator, or has an anchor in a choice of many. */
function accepts(text: string): boolean {
  try {
    readSchema(JSON.stringify({ type: "string", pattern: text }));
    return true;
  } catch (error) {
    expect((error as Error).message, text).toMatch(
      /states (of all strings )?that are supported|more complicated|leaves no string|elsewhere than/,
    );
    return false;
  }
}

test("whatever is drawn, an answer matches its pattern, also beside lengths and in an object", async () => {
  const random = seededRandom(testSeed());
  for (const pattern of fc.sample(
    fc.constantFrom("^[a-zé€]+(-\\d{2})?$", "b", "^a|z$", "^(\\w+\\s?)+$", '"|\\\\', "^[^\\n]*$", "😀.é", "(a|b)*abb"),
    { numRuns: 12, seed: random.u32() },
  )) {
    const least = random.u32() % 4;
    const x = { type: "string", pattern, minLength: least, maxLength: least + 3 + (random.u32() % 4) };
    const schema = { type: "object", properties: { x, y: { type: "boolean" } }, required: ["x", "y"], additionalProperties: false };
    const valid = validator(schema);
    const text = await walkBytes(bytes, schema, random, 30);
    expect([valid(JSON.parse(text)), text], JSON.stringify(schema)).toEqual([true, text]);
  }
});

const zods: ReadonlyArray<readonly [string, z.ZodType]> = Object.entries({
  email: z.email(),
  html5: z.email({ pattern: z.regexes.html5Email }),
  "short email": z.email().max(40),
  "email of a mail server": z.email().max(254),
  "long regex": z.string().regex(/^[a-z]{1,300}$/),
  uuid: z.uuid(),
  uuidv4: z.uuidv4(),
  guid: z.guid(),
  datetime: z.iso.datetime(),
  offset: z.iso.datetime({ offset: true }),
  precise: z.iso.datetime({ precision: 3 }),
  local: z.iso.datetime({ local: true }),
  date: z.iso.date(),
  time: z.iso.time(),
  duration: z.iso.duration(),
  ipv4: z.ipv4(),
  ipv6: z.ipv6(),
  cidrv4: z.cidrv4(),
  nanoid: z.nanoid(),
  cuid2: z.cuid2(),
  ulid: z.ulid(),
  e164: z.e164(),
  mac: z.mac(),
  "min max": z.string().min(1).max(50),
  length: z.string().length(5),
  regex: z.string().regex(/^[A-Z]{3}-\d+$/),
  "regex and lengths": z
    .string()
    .regex(/^[a-z-]+$/)
    .min(2)
    .max(30),
  starts: z.string().startsWith("ab."),
  ends: z.string().endsWith("/x").max(8),
  includes: z.string().includes("a.b").max(8),
  lowercase: z.string().lowercase(),
  number: z.number().min(0).max(1),
  positive: z.number().positive(),
  "positive integer": z.int().positive(),
});
test.each(zods)("what zod writes for %s is taken, and it takes the answers", async (_, type) => {
  const random = seededRandom(testSeed());
  const schema = z.toJSONSchema(type);
  const valid = validator(schema);
  for (let round = 0; round < 3; round++) {
    const text = await walkBytes(bytes, schema, random, 12);
    expect([valid(JSON.parse(text)), type.safeParse(JSON.parse(text)).success, text]).toEqual([true, true, text]);
  }
});

test("what pydantic writes is taken, also of a Decimal, whose pattern looks ahead", async () => {
  const random = seededRandom(testSeed());
  const decimal = { anyOf: [{ type: "number" }, { type: "string", pattern: "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$" }] };
  const constrained = { type: "string", minLength: 1, maxLength: 9, pattern: "^[a-z]+$" };
  const properties = {
    decimal,
    constrained,
    confidence: { type: "number", minimum: 0, maximum: 1 },
    id: { type: "string", format: "uuid" },
  };
  const schema = { type: "object", properties, required: Object.keys(properties) };
  const valid = validator(schema);
  for (let round = 0; round < 5; round++) {
    const text = await walkBytes(bytes, schema, random, 20);
    expect([valid(JSON.parse(text)), text]).toEqual([true, text]);
  }
  for (const [text, may] of [
    ["1.5", true],
    ["-.5", true],
    ["+1.", true],
    ["-", false],
    [".", false],
    ["1e5", false],
  ] as const)
    expect(await takesBytes(bytes, decimal.anyOf[1]!, JSON.stringify(text)), text).toBe(may);
});

const refused: readonly (readonly [object, string])[] = [
  [{ pattern: 5 }, "pattern must be a string"],
  [{ pattern: "(" }, "pattern is not an ECMAScript regular expression with the flag u"],
  [{ pattern: "\\-" }, "pattern is not an ECMAScript regular expression with the flag u"],
  [{ pattern: "^(?=a).$" }, "pattern has a look-around, which is not supported"],
  [{ pattern: "(?<!a)b" }, "pattern has a look-around, which is not supported"],
  [{ pattern: "(a)\\1" }, "pattern has \\1, which is not supported"],
  [{ pattern: "(?<n>a)\\k<n>" }, "pattern has \\k, which is not supported"],
  [{ pattern: "\\bword\\b" }, "pattern has \\b, which is not supported"],
  [{ pattern: "^\\p{L}+$" }, "pattern has \\p, which is not supported"],
  [{ pattern: "a$b" }, "pattern has ^ or $ elsewhere than at the beginning"],
  [{ pattern: "(^a|b)" }, "pattern has ^ or $ elsewhere than at the beginning"],
  [{ pattern: "(a|b$)" }, "pattern has ^ or $ elsewhere than at the beginning"],
  [{ pattern: "a".repeat(2_001) }, "pattern is longer than the 2000 characters"],
  [{ pattern: "a{1001}" }, "pattern repeats more than the 1000 times"],
  [{ pattern: "(?:(?:a{1000}){1000}){1000}" }, "pattern has more than the 3000 parts"],
  [{ pattern: "(?:(?:){1000}){1000}" }, "pattern has more than the 3000 parts"],
  [{ pattern: `${"(".repeat(40)}a${")".repeat(40)}` }, "pattern has groups deeper than the 32"],
  [{ pattern: "^(a|b)*a(a|b){12}$" }, "pattern makes more than the 1000 states"],
  [{ pattern: "^[]$" }, "pattern leaves no string that can be answered"],
  [{ pattern: "^a{3}$", maxLength: 2 }, "pattern leaves no string that can be answered"],
  [{ pattern: "a", maxLength: 10_001 }, "maxLength must be a whole number up to 10000"],
  [{ pattern: "^[a-z]{500}[0-9]*$", maxLength: 10_000 }, "pattern has 501 states, which times 10000 characters is more than the 4000000"],
  [{ pattern: "^a$", format: "uri" }, "format must be one of date,"],
  [{ pattern: "^a$", format: "date" }, "pattern leaves no string that can be answered"],
];
test.each(refused.map(([keywords, message]) => [message, keywords]))(
  "a pattern that cannot be held is refused by name: %s %o",
  async (message, keywords) => {
    await expect(bytes.check(JSON.stringify({ type: "string", ...keywords }))).rejects.toMatchObject({
      code: "INVALID_REQUEST",
      message: expect.stringContaining(message),
    });
  },
);
