import { resolve } from "node:path";
import { Tokenizer } from "../../shared/engine/tokenizer.ts";
import type { Config } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { openLog } from "../../shared/runtime/log.ts";
import { seededRandom } from "../../shared/runtime/random.ts";
import { HEADER_BYTES } from "../../shared/segments/format.ts";
import { type Client, openClient } from "../client.ts";
import type { Embedded } from "../embedded.ts";
import { openProgress } from "../progress.ts";
import { serveEmbedded } from "../serve.ts";
import { generateYardlog, type Yardlog, yardlogMessage } from "../yardlog.ts";
import { rates } from "./rates.ts";

/** The document follows from this; not chosen by outcome. */
const SEED = 1;
const QUESTIONS = 5;

export interface DemoOptions {
  readonly tokens: number;
  readonly long?: boolean;
}

/** A question about a long document, five times: prefilled once, its segments stored, and found again by every other question. */
export async function demo(config: Config, { tokens, long = false }: DemoOptions): Promise<void> {
  const folder = resolve(config.modelPath);
  console.log("longshore demo: the whole cluster in this process; its jobs end with it\n");
  const { api, cluster, stop } = await serveEmbedded({ ...config, port: 0 }, openLog("demo", "warn"));
  try {
    const { info } = cluster.opened.engine;
    console.log(`model      ${info.model}, ${info.layers} layers, context ${info.contextTokens.toLocaleString("en")} tokens`);
    console.log(`kernels    ${info.kernelPath}, ${info.mode} mode`);
    const tokenizer = await Tokenizer.load(folder);
    const client = openClient(api.url, undefined);
    if (long) await rates(client, { folder, tokenizer, model: info.model });
    const log = await generateYardlog({ folder, tokenizer, random: seededRandom(SEED), tokens, questions: QUESTIONS });
    console.log(
      `document   a yard log of ${log.tokens.toLocaleString("en")} tokens, ${log.text.split("\n").length.toLocaleString("en")} lines\n`,
    );
    await askAll(client, info.model, log);
    printCache(cluster);
  } finally {
    await stop();
  }
}

async function askAll(client: Client, model: string, log: Yardlog): Promise<void> {
  let right = 0;
  for (const [i, { question, truth }] of log.questions.entries()) {
    const { answer, line } = await ask(client, { model, log, question, label: `question ${i + 1}` });
    if (answer === truth) right++;
    console.log(
      `  ${question}\n  ${answer === truth ? "right" : "WRONG"}   ${answer}${answer === truth ? "" : `\n  truth   ${truth}`}\n  ${line}\n`,
    );
  }
  console.log(`${right} of ${log.questions.length} answers are the sentence of the log, word for word.`);
}

/** One question, watched from submission to its end. */
export async function ask(
  client: Client,
  { model, log, question, label }: { readonly model: string; readonly log: Yardlog; readonly question: string; readonly label: string },
): Promise<{ answer: string; line: string }> {
  const progress = openProgress(label);
  const request = { model, messages: [{ role: "user", content: yardlogMessage(log.text, question) }], max_tokens: 64 };
  const startMs = performance.now();
  const { id } = (await client.post("/v1/jobs", { kind: "chat", request })) as { id: string };
  let prefilledMs = startMs;
  for await (const { name, data } of client.events(`/v1/jobs/${id}/events`)) {
    const event = JSON.parse(data) as { done?: number; total?: number; message?: string };
    if (name === "progress") progress.update(event.done ?? 0, event.total ?? 0, "prefill");
    if (name === "handed_over") prefilledMs = performance.now();
    if (name === "error") throw new ServingError("INTERNAL", event.message ?? "the stream of events ended early");
  }
  const endMs = performance.now();
  progress.end();
  const { result, error } = (await client.get(`/v1/jobs/${id}`)) as JobResult;
  if (result === null) throw new ServingError("INTERNAL", `${id}: ${error?.message ?? "no result"}`);
  const { prompt_tokens, prompt_cache_hit_tokens, completion_tokens } = result.usage;
  const computed = prompt_tokens - prompt_cache_hit_tokens;
  const line =
    `prompt ${prompt_tokens} tokens, ${prompt_cache_hit_tokens} from cache, ${computed} computed in ${seconds(prefilledMs - startMs)} ` +
    `(${rate(computed, prefilledMs - startMs)}); answer ${completion_tokens} tokens in ${seconds(endMs - prefilledMs)}`;
  return { answer: result.choices[0]!.message.content ?? "", line };
}

interface JobResult {
  readonly result: {
    readonly choices: ReadonlyArray<{ readonly message: { readonly content: string | null } }>;
    readonly usage: { readonly prompt_tokens: number; readonly prompt_cache_hit_tokens: number; readonly completion_tokens: number };
  } | null;
  readonly error: { readonly message: string } | null;
}

/** What the store was really given: the payloads of segments alone, then what comes on top. */
function printCache({ opened, store }: Embedded): void {
  const { segmentTokens, segmentBytes } = opened.engine.info;
  const { segment, boundary } = store.stats().stored;
  console.log(`
KV in the store
  ${segment.puts} segments of ${segmentTokens} tokens, ${segment.bytes} bytes of payload: ${segment.bytes / (segment.puts * segmentTokens)} bytes a token
  by arithmetic ${segmentBytes / segmentTokens} bytes a token (longshore sizes)
  besides, ${segment.puts * HEADER_BYTES} bytes of headers and ${boundary.puts} boundaries of ${boundary.bytes} bytes together`);
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
const rate = (tokens: number, ms: number): string => `${Math.round((1_000 * tokens) / ms).toLocaleString("en")} tokens/s`;
