import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";
import { lineJobId } from "../../services/batch/run-line.ts";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { findBatch } from "../../services/shared/batches/batch.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import type { LogRecord } from "../../services/shared/bus/events.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { Tokenizer } from "../../services/shared/engine/tokenizer/tokenizer.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { alone } from "./alone.ts";
import { answered } from "./answers.ts";
import { chatLine, createBatch, hasEnded, outputLines } from "./batches.ts";
import { faultsOf } from "./bus.ts";
import { NatsServer } from "./nats.ts";
import { startRedis } from "./redis.ts";
import { type Role, RoleProcess } from "./role-process.ts";

interface StormOptions {
  readonly lines: number;
  readonly documents: number;
  /** Of each document. */
  readonly words: number;
  readonly seed: number;
  /** How long the batch may take. */
  readonly ms: number;
  readonly tell?: (what: string) => void;
}

interface StormReport {
  readonly batch: OpenAI.Batch;
  /** What was wrong; empty if nothing was. */
  readonly faults: readonly string[];
  readonly kills: number;
  readonly seconds: number;
  /** Tokens that lines of one document have in common, over all documents, and how many of them were computed. */
  readonly sharedTokens: number;
  readonly sharedComputed: number;
}

const SEGMENT = 128;
const MODEL = "deploy/models/yardlog";
const ROLES: readonly Role[] = ["api", "prefill", "decode", "batch-coordinator", "batch-coordinator"];

/**
 * One batch on a real cluster, in which the coordinator that works on it and a worker of each kind are killed with -9
 * three times.
 */
export async function batchStorm(options: StormOptions): Promise<StormReport> {
  const [nats, redis, port] = await Promise.all([NatsServer.start(), startRedis(), freePort()]);
  const env: Record<string, string> = {
    LONGSHORE_NATS_URL: nats.url,
    LONGSHORE_REDIS_URL: redis.url,
    LONGSHORE_MODEL_PATH: MODEL,
    LONGSHORE_ENGINE: "weightless",
    LONGSHORE_SEGMENT_TOKENS: String(SEGMENT),
    LONGSHORE_CHUNK_TOKENS: "256",
    LONGSHORE_CLAIM_MS: "3000",
    LONGSHORE_BEAT_MS: "200",
    LONGSHORE_BATCH_LINES: "64",
    LONGSHORE_PORT: String(port),
  };
  const bus = busFromConfig(loadConfig(env));
  await bus.ready(60_000);
  const processes = await Promise.all(ROLES.map(async (role) => ({ role, process: await RoleProcess.start(role, env) })));
  const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: "none", timeout: 60_000 });
  const killed: string[] = [];
  /**
   * A process of the role. Of the coordinators the one that works on the batch; any, if that one is dead but its claim
   * has not run out, or if the batch has ended.
   */
  const victimOf = async (role: Role, batchId: string) => {
    const holder = role === "batch-coordinator" ? await holderOf(bus, batchId) : "";
    const able = processes.filter((one) => one.role === role);
    return able.find(({ process }) => process.output.includes(holder)) ?? able[0]!;
  };
  const kill = async (role: Role, batchId: string) => {
    const victim = await victimOf(role, batchId);
    await victim.process.kill();
    killed.push(role);
    options.tell?.(`killed a ${role}`);
    victim.process = await RoleProcess.start(role, env);
  };
  try {
    const begin = performance.now();
    const { id } = await createBatch(client, linesOf(options));
    let looked = await client.batches.retrieve(id);
    for (const share of [1 / 4, 2 / 4, 3 / 4]) {
      looked = await untilDone(client, id, share * options.lines, begin + options.ms);
      await Promise.all((["batch-coordinator", "prefill", "decode"] as const).map((role) => kill(role, id)));
      await partOf(client, looked);
    }
    looked = await untilDone(client, id, Number.POSITIVE_INFINITY, begin + options.ms);
    const seconds = (performance.now() - begin) / 1_000;
    return { batch: looked, kills: killed.length, seconds, ...(await judged(client, bus, looked, options)) };
  } finally {
    await Promise.all(processes.map(({ process }) => process.kill()));
    await bus.close();
    await Promise.all([nats.stop(), redis.stop()]);
  }
}

/** Questions to one document are not adjacent, and documents of equal length begin differently. */
function linesOf({ lines, documents, words, seed }: StormOptions) {
  const random = seededRandom(seed);
  const word = () => random.u32().toString(36);
  const texts = Array.from({ length: documents }, () => Array.from({ length: words }, word).join(" "));
  return Array.from({ length: lines }, (_, i) =>
    chatLine(`line ${i}`, `${texts[i % documents]}\n\nQuestion ${word()}?`, { seed: i, temperature: 1 }),
  );
}

/** "": it has no holder now. */
const holderOf = async (bus: Bus, batchId: string): Promise<string> => (await findBatch(bus, "default", batchId))?.batch.holder ?? "";

async function untilDone(client: OpenAI, id: string, lines: number, endMs: number): Promise<OpenAI.Batch> {
  for (;;) {
    const batch = await client.batches.retrieve(id);
    if (hasEnded(batch) && batch.status !== "completed") throw new Error(JSON.stringify(batch));
    if (hasEnded(batch) || batch.request_counts!.completed >= lines) return batch;
    if (performance.now() > endMs) throw new Error(`too slow: ${JSON.stringify(batch)}`);
    await sleep(50);
  }
}

/** Output so far can be read while the batch runs, and ends with a whole line. */
async function partOf(client: OpenAI, { output_file_id, request_counts }: OpenAI.Batch): Promise<void> {
  const lines = await outputLines(client, output_file_id);
  if (lines.length < request_counts!.completed) throw new Error(`${lines.length} lines of ${request_counts!.completed} can be read`);
}

async function judged(client: OpenAI, bus: Bus, batch: OpenAI.Batch, { lines, documents }: StormOptions) {
  const faults: string[] = [];
  const output = await outputLines(client, batch.output_file_id);
  const seen = new Map(output.map((line) => [line.custom_id, line]));
  if (output.length !== lines || seen.size !== lines) faults.push(`${output.length} lines with ${seen.size} ids for ${lines}`);
  const tokenizer = await Tokenizer.load(MODEL);
  const engine = { vocabSize: tokenizer.vocabSize, eosId: tokenizer.ids.eos, eosOneIn: 200, segmentTokens: SEGMENT };
  const prompts: Int32Array[][] = Array.from({ length: documents }, () => []);
  const cached: number[][] = Array.from({ length: documents }, () => []);
  for (let i = 0; i < lines; i++) {
    const records = await bus.log.read(lineJobId(batch.id, i, 0));
    const { request, usage } = endsOf(records);
    faults.push(...faultsOf(records).map((fault) => `line ${i}: ${fault}`));
    const { ids } = await alone(request, engine);
    if (String(answered(records).ids) !== String(ids)) faults.push(`line ${i}: another answer than the engine's alone`);
    const body = seen.get(`line ${i}`)?.response?.body as OpenAI.ChatCompletion | undefined;
    if (body?.usage?.completion_tokens !== ids.length) faults.push(`line ${i}: ${JSON.stringify(body?.usage)}`);
    if ("ids" in request.prompt) prompts[i % documents]!.push(request.prompt.ids);
    cached[i % documents]!.push(usage.cachedTokens);
  }
  const shared = prompts.map((all) => SEGMENT * Math.floor(commonLength(all) / SEGMENT));
  const computed = shared.map((tokens, d) => cached[d]!.reduce((sum, found) => sum + Math.max(0, tokens - found), 0));
  return { faults, sharedTokens: sum(shared), sharedComputed: sum(computed) };
}

function endsOf(records: readonly LogRecord[]) {
  const [first, last] = [records[0]?.event, records.at(-1)?.event];
  if (first?.type !== "submitted" || last?.type !== "finished") throw new Error(`a log from ${first?.type} to ${last?.type}`);
  return { request: first.request, usage: last.usage };
}

function commonLength([first = new Int32Array(0), ...others]: readonly Int32Array[]): number {
  const lengths = others.map((other) => first.findIndex((id, i) => other[i] !== id)).map((at) => (at < 0 ? first.length : at));
  return Math.min(first.length, ...lengths);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
