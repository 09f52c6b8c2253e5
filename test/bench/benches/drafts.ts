import { readFileSync } from "node:fs";
import { fitDrafts } from "../../../services/decode/fit-drafts.ts";
import { PromptLookup } from "../../../services/decode/prompt-lookup.ts";
import { StepCost } from "../../../services/decode/step-cost.ts";
import type { Engine } from "../../../services/shared/engine/engine.ts";
import { engineFromConfig } from "../../../services/shared/engine/from-config.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { type Bench, type Scene, secondsOf } from "../bench.ts";
import { greedy, prefilled } from "../prefilled.ts";

const FOLDER = "deploy/models/yardlog";
/** Each goes on behind its answer, and so says much that was said before. */
const ANSWER_TOKENS = 200;
const PROMPTS = 12;

export const drafts: Bench = {
  name: "drafts",
  about: "answers of the demonstration model that quote and repeat, one after the other: with drafts beside without",
  async run(scene) {
    const { engine, tokenizer } = await engineFromConfig(loadConfig({ LONGSHORE_MODEL_PATH: FOLDER }));
    try {
      const prompts = JSON.parse(readFileSync(`${FOLDER}/prompts.json`, "utf8")) as readonly { readonly prompt: string }[];
      const ids = await Promise.all(prompts.slice(0, PROMPTS).map(async ({ prompt }) => Int32Array.from(await tokenizer.encode(prompt))));
      await byTurns(scene, engine, ids);
    } finally {
      await engine.shutdown();
      await tokenizer.close();
    }
  },
};

async function byTurns(scene: Scene, engine: Engine, prompts: readonly Int32Array[]): Promise<void> {
  const cost = new StepCost();
  const rates: { readonly drafted: number[]; readonly plain: number[] } = { drafted: [], plain: [] };
  let steps = 0;
  let tokens = 0;
  await answer(engine, prompts[0]!, cost); // warms, and learns what a step costs
  for (const [i, prompt] of prompts.entries()) {
    scene.say(`drafts ${i + 1}/${prompts.length}`);
    const plain = await answer(engine, prompt, null);
    const drafted = await answer(engine, prompt, cost);
    if (drafted.ids.join() !== plain.ids.join()) throw new Error(`prompt ${i}: an answer with drafts is another one`);
    rates.plain.push(ANSWER_TOKENS / plain.seconds);
    rates.drafted.push(ANSWER_TOKENS / drafted.seconds);
    steps += drafted.steps;
    tokens += drafted.tokens;
  }
  scene.report({
    key: "drafts.yardlog",
    unit: "tokens/s",
    figures: rates.drafted,
    yardstick: { name: "without", figures: rates.plain },
    ratios: rates.drafted.map((rate, i) => rate / rates.plain[i]!),
    note: `${engine.info.kernelPath}; ${steps} steps of ${tokens} tokens for ${prompts.length * ANSWER_TOKENS}`,
  });
}

const UNKNOWN = new StepCost();

/** As the running batch does for a sequence that is alone. `cost` null: without drafts. */
async function answer(engine: Engine, prompt: Int32Array, cost: StepCost | null) {
  const { sequence, token } = await prefilled(engine, prompt);
  const text = new Int32Array(prompt.length + ANSWER_TOKENS + engine.info.draftMax);
  text.set(prompt);
  const lookup = new PromptLookup();
  const ids = [token];
  let [fed, steps, tokens] = [prompt.length, 0, 0];
  const seconds = await secondsOf(async () => {
    while (ids.length < ANSWER_TOKENS) {
      const input = { sequence, token: ids.at(-1)!, sample: greedy };
      const draft = cost === null ? null : lookup.draft(text.subarray(0, fed), input.token, engine.info.draftMax);
      const [step] = fitDrafts([{ input, draft }], cost ?? UNKNOWN, engine.info.batchMax);
      const run = 1 + (step?.draft?.length ?? 0);
      const startMs = performance.now();
      const [result] = await engine.step([step!]);
      cost?.learn(run, performance.now() - startMs);
      if (result === undefined || "failed" in result) throw result?.failed ?? new Error("a step without a result");
      for (const { token } of result.drawn) {
        text[fed++] = ids.at(-1)!;
        ids.push(token);
      }
      for (const { payload } of result.sealed) payload.release();
      steps++;
      tokens += run;
    }
  });
  await engine.close(sequence);
  return { ids: ids.slice(0, ANSWER_TOKENS), seconds, steps, tokens };
}
