import { resolve } from "node:path";
import { Tokenizer } from "../../shared/engine/tokenizer/tokenizer.ts";
import type { Config } from "../../shared/runtime/config.ts";
import { openLog } from "../../shared/runtime/log.ts";
import { seededRandom } from "../../shared/runtime/random.ts";
import { whole } from "../../shared/runtime/units.ts";
import { HEADER_BYTES } from "../../shared/segments/format.ts";
import { type Client, openClient } from "../client.ts";
import type { Embedded } from "../embedded.ts";
import { openProgress } from "../progress.ts";
import { serveEmbedded } from "../serve.ts";
import { generateYardlog, type Yardlog, yardlogMessage } from "../yardlog.ts";
import { type Answered, ask } from "./ask.ts";
import { rates } from "./rates.ts";

/** The document follows from this; not chosen by outcome. */
const SEED = 1;
const QUESTIONS = 5;
/** Nobody but the demo asks its API, whatever the settings say of who may ask yours, and how. */
const OURS_ALONE = { host: "127.0.0.1", port: 0, grpcPort: null, apiKeys: "", requireKeys: false, tlsCertFile: "", tlsKeyFile: "" };

export interface DemoOptions {
  readonly tokens: number;
  readonly long?: boolean;
}

/** A question about a long document, five times: prefilled once, its segments stored, and found again by every other question. */
export async function demo(config: Config, { tokens, long = false }: DemoOptions): Promise<void> {
  const folder = resolve(config.modelPath);
  console.log("longshore demo: the whole cluster in this process; its jobs end with it\n");
  const { api, cluster, stop } = await serveEmbedded({ ...config, ...OURS_ALONE }, openLog("demo", "warn"));
  try {
    const { engine, model } = cluster.opened;
    const { info } = engine;
    console.log(`model      ${model}, ${info.layers} layers, context ${whole(info.contextTokens)} tokens`);
    console.log(`kernels    ${info.kernelPath}, ${info.mode} mode`);
    const tokenizer = await Tokenizer.load(folder);
    const client = openClient(api.url, undefined);
    if (long) await rates(client, { folder, tokenizer, model });
    const log = await generateYardlog({ folder, tokenizer, random: seededRandom(SEED), tokens, questions: QUESTIONS });
    console.log(`document   a yard log of ${whole(log.tokens)} tokens, ${whole(log.text.split("\n").length)} lines\n`);
    await askAll(client, model, log);
    printCache(cluster);
  } finally {
    await stop();
  }
}

async function askAll(client: Client, model: string, log: Yardlog): Promise<void> {
  let right = 0;
  for (const [i, { question, truth }] of log.questions.entries()) {
    const progress = openProgress(`question ${i + 1}`);
    const answered = await ask(client, { model, content: yardlogMessage(log.text, question) }, (done, total) =>
      progress.update(done, total, "prefill"),
    );
    progress.end();
    const exact = answered.answer === truth;
    if (exact) right++;
    console.log(`  ${question}`);
    console.log(`  ${exact ? "right" : "WRONG"}   ${answered.answer}`);
    if (!exact) console.log(`  truth   ${truth}`);
    console.log(`  ${effort(answered)}\n`);
  }
  console.log(`${right} of ${log.questions.length} answers are the sentence of the log, word for word.`);
}

/** Times are a client's: queueing, tokenizing and the way there and back included. */
function effort({ promptTokens, cachedTokens, replayedTokens, prefillMs, answerTokens, decodeMs }: Answered): string {
  const computed = promptTokens - cachedTokens + replayedTokens;
  const rate = whole((1_000 * computed) / prefillMs);
  return (
    `prompt ${promptTokens} tokens, ${cachedTokens} from cache; ${computed} run in ${seconds(prefillMs)} (${rate} tokens/s)` +
    `${replayedTokens === 0 ? "" : `, ${replayedTokens} of them to rebuild windows`}; answer ${answerTokens} tokens in ${seconds(decodeMs)}`
  );
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`;

/** What the store was really given: the payloads of segments alone, then what comes on top. */
function printCache({ opened, store }: Embedded): void {
  const { segmentTokens, segmentBytes } = opened.engine.info;
  const { segment, boundary } = store.stats().stored;
  if (segment.puts === 0) {
    console.log(`\nno segment is stored: a segment has ${segmentTokens} tokens, and the document fewer`);
    return;
  }
  console.log(`
KV in the store
  ${segment.puts} segments of ${segmentTokens} tokens, ${segment.bytes} bytes of payload: ${segment.bytes / (segment.puts * segmentTokens)} bytes a token
  by arithmetic ${segmentBytes / segmentTokens} bytes a token (longshore sizes)
  besides, ${segment.puts * HEADER_BYTES} bytes of headers and ${boundary.puts} boundaries of ${boundary.bytes} bytes together`);
}
