import { generateYardlog, yardlogMessage } from "../../services/cli/yardlog.ts";
import { encodePrompt } from "../../services/shared/engine/chat/prompt.ts";
import { TextStream } from "../../services/shared/engine/text.ts";
import { Tokenizer } from "../../services/shared/engine/tokenizer/tokenizer.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { told } from "../support/told.ts";
import { killsTable, openRig } from "./long-prefill.ts";

const USAGE = `npm run chaos:long -- [--tokens N] [--seed SEED]

The demonstration model reads a document of N tokens (201000) once in peace and once while whoever reads is killed again and again, and must give
the same ids, and the truth. Exits with 1 if it does not, or if a kill cost more than it may.`;

const { tokens, seed } = told(USAGE, { tokens: 201_000, seed: 1 }).options;
const folder = "deploy/models/yardlog";
const FRACTIONS = [0.1, 0.5, 0.9, 0.99];

const tokenizer = await Tokenizer.load(folder);
const random = seededRandom(seed);
const { text, questions } = await generateYardlog({ folder, tokenizer, random, tokens, questions: 1 });
const { question, truth } = questions[0]!;
const prompt = encodePrompt([{ role: "user", content: yardlogMessage(text, question) }], { release: "preview", thinking: false });
const ids = await tokenizer.encode(prompt);
const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };
const request = { maxTokens: 100, stopIds: [...tokenizer.stopIds], sampling, deadlineMs: Date.now() + 3_600_000 };

// A chunk as long as a segment, and one upload at a time: then no more than two segments are in flight.
const settings = {
  LONGSHORE_MODEL_PATH: folder,
  LONGSHORE_CHUNK_TOKENS: "512",
  LONGSHORE_THREADS: "1",
  LONGSHORE_CLAIM_MS: "5000",
  LONGSHORE_UPLOADS_MAX: "1",
};
console.log(`prompt of ${ids.length} tokens, seed ${seed}`);
const rig = await openRig(settings);
const timed = async (what: string, fractions: readonly number[]) => {
  const startMs = performance.now();
  const result = await rig.run(ids, request, fractions);
  console.log(`${what}: ${((performance.now() - startMs) / 1_000).toFixed(0)} s`);
  return result;
};
const quiet = await timed("in peace", []);
const { kills, ids: answer } = await timed(`killed ${FRACTIONS.length} times`, FRACTIONS);
await rig.close();

console.log(killsTable(kills));
const stream = new TextStream(tokenizer, []);
const said = answer.map((id) => stream.push(id)).join("") + stream.flush();
console.log(`answer: ${said}`);
const problems = [
  ...kills
    .filter(({ recomputed }) => recomputed > rig.recomputedMax)
    .map(({ fraction }) => `at ${fraction} more than ${rig.recomputedMax}`),
  ...(answer.join() === quiet.ids.join() ? [] : ["the ids are not those of the quiet run"]),
  ...(said === truth ? [] : [`the truth is: ${truth}`]),
];
console.log(problems.length === 0 ? `ok: at most ${rig.recomputedMax} tokens may be computed again` : `FAILED: ${problems.join("; ")}`);
process.exit(problems.length === 0 ? 0 : 1);
