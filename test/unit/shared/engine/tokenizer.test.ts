import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readTokenizerFiles, type TokenizerFile } from "../../../../services/shared/engine/tokenizer/files.ts";
import { cutter } from "../../../../services/shared/engine/tokenizer/pieces.ts";
import { Tokenizer } from "../../../../services/shared/engine/tokenizer/tokenizer.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { decode } from "../../../support/decode.ts";
import { testSeed } from "../../../support/seed.ts";

const model = new URL("../../../../deploy/models/yardlog", import.meta.url).pathname;
let folder: string;
let tokenizer: Tokenizer;

beforeAll(async () => {
  tokenizer = await Tokenizer.load(model);
  folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
});
afterAll(async () => {
  await tokenizer.close();
  await rm(folder, { recursive: true });
});

/** A copy of the model's text files with one of them replaced. */
async function broken(file: string, text: string): Promise<string> {
  const copy = await mkdtemp(join(folder, "broken-"));
  await cp(join(model, "tokenizer.json"), join(copy, "tokenizer.json"));
  await writeFile(join(copy, file), text);
  return copy;
}

/** Text of everything the pre-tokenizer distinguishes, special tokens and their fragments included. */
function nastyText(random: { u32(): number }, parts: number): string {
  const words = [
    "a",
    "Zq",
    "é",
    "ы",
    "한",
    "好",
    "の",
    "ー",
    "ﾞ",
    "0",
    "12",
    "٣",
    "²",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u00a0",
    "\u2028",
    "\v",
  ];
  const marks = [".", ",", "'s", "''", "(", "<", "|", "。", "，", "—", "€", "\u0301", "\u0000", "\u200d", "😀", "𝒳", "𑄶", "\ufeff"];
  const special = ["<think>", "</think>", "<｜User｜>", "｜DSML｜", "<｜end▁of▁sentence｜>", "<thi", "｜DSML", "<｜Us"];
  const all = [...words, ...words, ...marks, ...special];
  let text = "";
  for (let i = 0; i < parts; i++) text += all[random.u32() % all.length];
  return text;
}

test("cutting a text into pieces changes no id, wherever the cuts fall", async () => {
  const random = seededRandom(testSeed());
  const file = JSON.parse(await readFile(join(model, "tokenizer.json"), "utf8")) as TokenizerFile;
  const cutting = await Tokenizer.load(model, { pieceChars: 1 });
  let cuts = 0;
  for (let round = 0; round < 1_500; round++) {
    const text = nastyText(random, 1 + (random.u32() % 60));
    cuts += [...cutter(file, 1)(text)].length - 1;
    expect([...(await cutting.encode(text))], JSON.stringify(text)).toEqual([...(await tokenizer.encode(text))]);
  }
  expect(cuts).toBeGreaterThan(1_500);
});

test("a text of nothing but tokens that hold places to cut is refused at its first stretch, however many tokens there are", async () => {
  const file = JSON.parse(await readFile(join(model, "tokenizer.json"), "utf8")) as TokenizerFile;
  const more = Array.from({ length: 1_000 }, (_, i) => ({ id: 100_000 + i, content: `<｜place▁holder▁no▁${i}｜>`, special: true }));
  const cut = cutter({ ...file, added_tokens: [...more, ...(file.added_tokens ?? [])] } as TokenizerFile);
  expect(() => [...cut("<think>".repeat(4_000_000))]).toThrow("more than 262144 characters without a space"); // took a minute for a quarter of it
  expect([...cut(`${"<think>".repeat(30_000)} a`)].join("")).toBe(`${"<think>".repeat(30_000)} a`);
});

test("decoding gives the text back, and the bytes of the tokens are its UTF-8", async () => {
  const random = seededRandom(testSeed());
  for (let round = 0; round < 300; round++) {
    const text = nastyText(random, 40);
    const ids = await tokenizer.encode(text);
    expect(decode(tokenizer, ids)).toBe(text);
    expect(Buffer.concat([...ids].map((id) => tokenizer.bytesOf(id))).toString("utf8")).toBe(text);
  }
});

test("a long text is encoded in pieces and decodes to itself", async () => {
  const text = "Container amber-otter is stowed in bay 417. ".repeat(20_000).trimEnd();
  const file = JSON.parse(await readFile(join(model, "tokenizer.json"), "utf8")) as TokenizerFile;
  const longest = Math.max(...[...cutter(file)(text)].map((piece) => piece.length));
  expect(longest).toBeLessThan(33_000);
  const ids = await tokenizer.encode(text);
  expect(ids.length).toBe(20_000 * 11);
  expect(decode(tokenizer, ids)).toBe(text);
});

test("a text has no fewer tokens than are told before it is encoded; of prose most are told", async () => {
  const random = seededRandom(testSeed());
  for (let round = 0; round < 1_500; round++) {
    const text = nastyText(random, random.u32() % 60);
    expect(tokenizer.atLeast(text), JSON.stringify(text)).toBeLessThanOrEqual((await tokenizer.encode(text)).length);
  }
  const prose = "Container amber-otter is stowed in bay 417. ".repeat(100);
  expect(tokenizer.atLeast(prose)).toBe(701);
  expect((await tokenizer.encode(prose)).length).toBe(1_101);
});

test("a text longer than allowed is refused as soon as that is known", async () => {
  await expect(tokenizer.encode("one two three", 2)).rejects.toMatchObject({ code: "CONTEXT_LENGTH" });
  await expect(tokenizer.encode("x ".repeat(1_000_000), 1_000)).rejects.toMatchObject({ code: "CONTEXT_LENGTH" });
  expect(await tokenizer.encode("a", 1)).toHaveLength(1);
});

test("what is not text is refused with the place", async () => {
  await expect(tokenizer.encode("ab\ud83d!")).rejects.toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringContaining("character 2"),
  });
  await expect(tokenizer.encode("\udc00")).rejects.toMatchObject({ code: "INVALID_REQUEST" });
  await expect(tokenizer.encode("的".repeat(400_000))).rejects.toMatchObject({ code: "INVALID_REQUEST" });
});

test("many texts at once come back each to its caller", async () => {
  const texts = Array.from({ length: 100 }, (_, i) => `bay ${i} `.repeat(1 + (i % 7) * 200));
  const ids = await Promise.all(texts.map((text) => tokenizer.encode(text)));
  for (const [i, text] of texts.entries()) expect(decode(tokenizer, ids[i]!)).toBe(text);
});

test("a closed tokenizer fails what is in progress and still decodes", async () => {
  const closing = await Tokenizer.load(model);
  const ids = await closing.encode("bay 42");
  const late = closing.encode("bay ".repeat(500_000));
  await Promise.all([expect(late).rejects.toMatchObject({ code: "UNAVAILABLE" }), closing.close()]);
  await expect(closing.encode("bay")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(decode(closing, ids)).toBe("bay 42");
});

test("special ids are read from the file", () => {
  expect(tokenizer.ids).toEqual({ bos: 0, eos: 1, user: 2016, assistant: 2017, thinkEnd: 2019 });
  expect([...tokenizer.stopIds].sort((a, b) => a - b)).toEqual([1, 2016, 2017]);
  expect(tokenizer.vocabulary().table.special).toContain(2020);
  expect(tokenizer.vocabSize).toBe(2_028);
});

test("ids without text have no bytes", () => {
  for (const id of [-1, 2_028, 2_047, 1e9]) expect(tokenizer.bytesOf(id)).toHaveLength(0);
});

test("a missing or damaged file is a bad checkpoint and is named", async () => {
  const bad = async (path: string, name: string) =>
    await expect(Tokenizer.load(path)).rejects.toMatchObject({ code: "BAD_CHECKPOINT", message: expect.stringContaining(name) });
  const whole = await readFile(join(model, "tokenizer.json"), "utf8");
  await bad(join(folder, "nowhere"), "tokenizer.json");
  await bad(await broken("tokenizer.json", whole.slice(0, whole.length / 2)), "tokenizer.json");
  await bad(await broken("tokenizer.json", "{}"), "tokenizer.json");
  await bad(await broken("tokenizer.json", "[]"), "tokenizer.json");
  await bad(await broken("tokenizer.json", whole.replaceAll("<｜end▁of▁sentence｜>", "<|end|>")), "<｜end▁of▁sentence｜>");
  await bad(await broken("tokenizer_config.json", "{"), "tokenizer_config.json");
  await bad(await broken("generation_config.json", '{"eos_token_id": [1, 99999]}'), "99999");
});

test("a token's id is a whole number, of a size that a table of all can have", async () => {
  const file = JSON.parse(await readFile(join(model, "tokenizer.json"), "utf8")) as TokenizerFile;
  const read = async (vocab: object, added: object = {}) => {
    const added_tokens = [...file.added_tokens!, { ...file.added_tokens![0], content: "<last>", ...added }];
    const changed = { ...file, model: { ...file.model, vocab: { ...file.model.vocab, ...vocab } }, added_tokens };
    return readTokenizerFiles(await broken("tokenizer.json", JSON.stringify(changed)));
  };
  for (const id of [2 ** 20, 60_000_000, 2 ** 32 - 1, 1.5, -1]) {
    const refusal = { code: "BAD_CHECKPOINT", message: expect.stringContaining(`tokenizer.json has a token with the id ${id}, `) };
    await expect(read({ last: id })).rejects.toMatchObject(refusal);
    await expect(read({}, { id })).rejects.toMatchObject(refusal);
  }
  expect((await read({ last: 2 ** 20 - 1 }, { id: 3_000 })).native.tokenToId("last")).toBe(2 ** 20 - 1);
});

test("a stop token is one of the vocabulary, and not what its number would be cut to", async () => {
  const read = async (eos: unknown) => readTokenizerFiles(await broken("generation_config.json", JSON.stringify({ eos_token_id: eos })));
  for (const id of [1.5, -1, 2_028, 2 ** 32, 2 ** 32 + 1, "1"]) {
    const message = expect.stringContaining(`generation_config.json names the stop token ${id}, which`);
    for (const eos of [id, [1, id]]) await expect(read(eos)).rejects.toMatchObject({ code: "BAD_CHECKPOINT", message });
  }
  expect((await read([1, 5])).stopIds).toEqual([1, 5, 2016, 2017]);
});
