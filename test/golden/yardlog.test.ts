import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { NativeEngine } from "../../services/shared/engine/native/engine.ts";
import { openNativeEngine } from "../../services/shared/engine/native/engine.ts";
import { Tokenizer } from "../../services/shared/engine/tokenizer/tokenizer.ts";
import { stepped } from "../support/stepped.ts";

const folder = fileURLToPath(new URL("../../deploy/models/yardlog", import.meta.url));
const greedy = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };

interface Prompt {
  readonly prompt: string;
  readonly tokens: number;
  /** Greedy answer of the reference, end of sentence included. */
  readonly answer_ids: readonly number[];
}

/** The model's README: the reference answers all 40; bf16 may flip one or two. */
test.each([
  { mode: "serving" as const, least: 38 },
  { mode: "exact" as const, least: 40 },
])("yardlog, $mode: at least $least of 40 greedy answers are the reference's", { timeout: 120_000 }, async ({ mode, least }) => {
  const prompts = JSON.parse(readFileSync(`${folder}/prompts.json`, "utf8")) as Prompt[];
  const tokenizer = await Tokenizer.load(folder);
  const engine = await openNativeEngine({
    modelPath: folder,
    mode,
    threads: 2,
    segmentTokens: 512,
    chunkTokens: 1024,
    batchMax: prompts.length,
    draftMax: 0,
  });
  try {
    const inputs = await Promise.all(prompts.map(async ({ prompt }) => Int32Array.from(await tokenizer.encode(prompt))));
    expect(inputs.map(({ length }) => length)).toEqual(prompts.map(({ tokens }) => tokens));
    const started = performance.now();
    const firsts = [];
    for (const ids of inputs) firsts.push(await prefill(engine, ids));
    const prefilled = performance.now();
    const answers = await decode(engine, firsts, Math.max(...prompts.map(({ answer_ids }) => answer_ids.length)));
    const decoded = performance.now();

    const right = answers.filter((answer, i) => answer.join() === prompts[i]!.answer_ids.join()).length;
    const rate = (tokens: number, ms: number) => `${Math.round((tokens * 1000) / ms)} tokens/s`;
    const prompted = inputs.reduce((sum, { length }) => sum + length, 0);
    const answered = answers.reduce((sum, { length }) => sum + length, 0);
    const speed = `prefill ${rate(prompted, prefilled - started)}, decode of 40 together ${rate(answered, decoded - prefilled)}`;
    console.log(`yardlog, ${mode}, ${engine.info.kernelPath}: ${right} of ${prompts.length} answers, ${speed}`);
    expect(right).toBeGreaterThanOrEqual(least);
  } finally {
    await engine.shutdown();
  }
});

type Started = { readonly sequence: Awaited<ReturnType<NativeEngine["open"]>>["sequence"]; readonly token: number };

async function prefill(engine: NativeEngine, ids: Int32Array): Promise<Started> {
  const { sequence } = await engine.open({ segments: [], boundary: null });
  const { chunkTokens } = engine.info;
  for (let at = 0; ; at += chunkTokens) {
    const last = at + chunkTokens >= ids.length;
    const { token, sealed } = await engine.prefill(sequence, ids.slice(at, at + chunkTokens), { sample: last ? greedy : undefined });
    for (const { payload } of sealed) payload.release();
    if (token !== null) return { sequence, token };
  }
}

/** Steps all that have not ended together. Answers include the end of the sentence. */
async function decode(engine: NativeEngine, started: readonly Started[], most: number): Promise<number[][]> {
  const answers = started.map(({ token }) => [token]);
  const endOfSentence = 1;
  for (let step = 1; step < most; step++) {
    const running = [...answers.keys()].filter((i) => answers[i]!.at(-1) !== endOfSentence);
    if (running.length === 0) break;
    const batch = running.map((i) => ({ sequence: started[i]!.sequence, token: answers[i]!.at(-1)!, sample: greedy }));
    const results = (await engine.step(batch)).map(stepped);
    for (const [k, { token, sealed }] of results.entries()) {
      answers[running[k]!]!.push(token);
      for (const { payload } of sealed) payload.release();
    }
  }
  return answers;
}
