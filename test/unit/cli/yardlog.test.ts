import { readFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { generateYardlog, type Yardlog, yardlogMessage } from "../../../services/cli/yardlog.ts";
import { encodePrompt } from "../../../services/shared/engine/chat/prompt.ts";
import { Tokenizer } from "../../../services/shared/engine/tokenizer/tokenizer.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { decode } from "../../support/decode.ts";

const folder = new URL("../../../deploy/models/yardlog", import.meta.url).pathname;
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await Tokenizer.load(folder);
});

const generate = (seed: number, tokens: number, questions = 5): Promise<Yardlog> =>
  generateYardlog({ folder, tokenizer, random: seededRandom(seed), tokens, questions });
const promptOf = (log: Yardlog, question: string) =>
  encodePrompt([{ role: "user", content: yardlogMessage(log.text, question) }], { release: "preview", thinking: false });
const factsIn = (text: string) => text.match(/Container \S+ (is stowed in bay|holds|is bound for) [^.]+\./g) ?? [];

test("the prompts of the model's README are written letter by letter", async () => {
  const prompts = JSON.parse(await readFile(`${folder}/prompts.json`, "utf8")) as {
    prompt: string;
    tokens: number;
    answer: string;
    answer_ids: number[];
  }[];
  for (const { prompt, tokens, answer, answer_ids } of prompts) {
    const [, log, question] = /Yard log\.\n(.*)\n\n(.*)<｜Assistant｜>/s.exec(prompt)!;
    expect(promptOf({ text: log!, questions: [], tokens: 0 }, question!)).toBe(prompt);
    expect(await tokenizer.encode(prompt)).toHaveLength(tokens);
    expect(decode(tokenizer, answer_ids, { skipSpecial: true })).toBe(answer);
  }
});

test("prompts have the tokens that were asked for, and the truths stand in the log, each once", async () => {
  for (const [seed, tokens] of [200, 1_000, 5_000, 30_000].entries()) {
    const log = await generate(seed, tokens, 3);
    expect(log.questions).toHaveLength(3);
    for (const { question, truth } of log.questions) {
      const count = (await tokenizer.encode(promptOf(log, question))).length;
      expect(count).toBeLessThanOrEqual(tokens);
      expect(count).toBeGreaterThan(tokens - 100);
      expect(factsIn(log.text).filter((fact) => fact === truth)).toHaveLength(1);
      expect(question).toContain(/Container (\S+)/.exec(truth)![1]!);
    }
    expect(log.tokens).toBe((await tokenizer.encode(promptOf(log, log.questions[0]!.question))).length);
  }
});

test("logs are mixed as the README says", async () => {
  const log = await generate(7, 100_000);
  const facts = factsIn(log.text);
  const names = facts.map((fact) => fact.split(" ")[1]!);
  const kinds = facts.map((fact) => fact.replace(/ [^ ]+\.$| \d+ crates\.$/, ""));
  expect(new Set(kinds).size).toBe(facts.length); // no (name, kind) twice
  expect(log.tokens / facts.length).toBeCloseTo(14.4, 0);
  expect(1 - new Set(names).size / names.length).toBeCloseTo(0.3, 1);
  const fillers = log.text.split(/(?<=\.)\s/).length - facts.length;
  expect(fillers / facts.length).toBeCloseTo(0.6, 1);
  const sentencesPerLine = log.text.split("\n").map((line) => line.split(". ").length);
  expect(new Set(sentencesPerLine)).toEqual(new Set([1, 2, 3, 4]));
});

test("a seed is a log", async () => {
  expect(await generate(3, 2_000)).toEqual(await generate(3, 2_000));
  expect((await generate(4, 2_000)).text).not.toBe((await generate(3, 2_000)).text);
});

test("what cannot be written is refused", async () => {
  await expect(generate(1, 60, 5)).rejects.toMatchObject({ code: "INVALID_REQUEST" });
  await expect(
    generateYardlog({ folder: "/nowhere", tokenizer, random: seededRandom(1), tokens: 100, questions: 1 }),
  ).rejects.toMatchObject({ code: "BAD_CHECKPOINT", message: expect.stringContaining("grammar.json") });
});
