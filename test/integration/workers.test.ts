import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import type { LogRecord } from "../../services/shared/bus/events.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { TURN_IS_OVER } from "../../services/shared/bus/reasons.ts";
import { Tokenizer } from "../../services/shared/engine/tokenizer/tokenizer.ts";
import type { WeightlessOptions } from "../../services/shared/engine/weightless/options.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { alone } from "../support/alone.ts";
import { answered, eventsOf, untilEvent } from "../support/answers.ts";
import { promptIds } from "../support/model.ts";
import { NatsServer } from "../support/nats.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { RoleProcess } from "../support/role-process.ts";
import { requestOf, submitJob } from "../support/workers.ts";

const MODEL = "deploy/models/yardlog";

let nats: NatsServer;
let redis: RedisServer;
let bus: Bus;
let env: Record<string, string>;
let engine: WeightlessOptions;
const running: RoleProcess[] = [];

beforeAll(async () => {
  [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
  env = {
    LONGSHORE_NATS_URL: nats.url,
    LONGSHORE_REDIS_URL: redis.url,
    LONGSHORE_MODEL_PATH: MODEL,
    LONGSHORE_ENGINE: "weightless",
    LONGSHORE_WEIGHTLESS_CHUNK_MS: "100",
    LONGSHORE_WEIGHTLESS_STEP_MS: "5",
    LONGSHORE_SEGMENT_TOKENS: "128",
    LONGSHORE_BOUNDARY_TOKENS: "256",
    LONGSHORE_CHUNK_TOKENS: "128",
    LONGSHORE_CLAIM_MS: "1500",
  };
  bus = busFromConfig(loadConfig(env));
  await bus.ready(60_000);
  const tokenizer = await Tokenizer.load(MODEL);
  engine = { vocabSize: tokenizer.vocabSize, eosId: tokenizer.ids.eos, eosOneIn: 200 };
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((process) => process.kill()));
});
afterAll(async () => {
  await bus.close();
  await Promise.all([nats.stop(), redis.stop()]);
});

async function start(role: "prefill" | "decode", more: Readonly<Record<string, string>> = {}): Promise<RoleProcess> {
  const process = await RoleProcess.start(role, { ...env, ...more });
  running.push(process);
  return process;
}

let jobs = 0;
const request = (salt: number) => requestOf({ model: "yardlog", prompt: { ids: promptIds(2_500, salt) }, maxTokens: 400, stopIds: [] });

async function submit(salt: number): Promise<string> {
  const jobId = `job-${++jobs}`;
  await submitJob(bus, jobId, request(salt));
  return jobId;
}

/** The answer in the log is that of the engine alone, every id once and in order, with one end and the right usage. */
async function expectUndisturbed(jobId: string, salt: number): Promise<readonly LogRecord[]> {
  const records = await eventsOf(bus, jobId);
  const { ids } = await alone(request(salt), { ...engine, segmentTokens: 128 });
  expect(answered(records).ids).toEqual(ids);
  const usage = { promptTokens: 2_500, completionTokens: ids.length, cachedTokens: 0 };
  expect(records.at(-1)!.event).toMatchObject({ type: "finished", usage });
  return records;
}

const midPrefill = ({ event }: LogRecord) => event.type === "progress" && event.done >= 700;
const midAnswer = ({ tokenCount }: LogRecord) => tokenCount >= 100;

test.each([
  ["prefill", midPrefill],
  ["decode", midAnswer],
] as const)("kill -9 of a %s worker in the middle of its work: the same ids as the engine alone", async (role, half) => {
  const [victim] = await Promise.all([start(role), start(role === "prefill" ? "decode" : "prefill")]);
  const salt = jobs;
  const jobId = await submit(salt);
  await untilEvent(bus, jobId, half);
  await victim.kill();
  await start(role);
  const records = await expectUndisturbed(jobId, salt);
  const takeover = records.find((record) => role === "prefill" && record.epoch === 2 && record.event.type === "progress")?.event;
  if (role === "prefill") expect(takeover).toMatchObject({ cached: 0, done: expect.toSatisfy((done: number) => done >= 512) });
});

test("a worker told to stop hands its jobs back and exits with 0 within seconds", async () => {
  const leaving = await start("prefill");
  const salt = jobs;
  const jobId = await submit(salt);
  await untilEvent(bus, jobId, midPrefill);
  const before = performance.now();
  expect(await leaving.stop(), leaving.output).toBe(0);
  expect(performance.now() - before).toBeLessThan(5_000);
  expect((await bus.log.last(jobId))?.event).toMatchObject({ type: "released", excused: true });
  await Promise.all([start("prefill"), start("decode")]);
  await expectUndisturbed(jobId, salt);
});

test("while long prompts hold the only place, a short one gets it, and they lose nothing", async () => {
  await Promise.all([start("prefill", { LONGSHORE_PREFILL_SLOTS: "1", LONGSHORE_CHUNK_MS: "100" }), start("decode")]);
  const salts = [jobs, jobs + 1];
  const longs: string[] = [];
  for (const salt of salts) longs.push(await submit(salt));
  await untilEvent(bus, longs[0]!, midPrefill);
  const short = requestOf({ model: "yardlog", prompt: { ids: promptIds(60, jobs) }, maxTokens: 10, stopIds: [] });
  await submitJob(bus, "short", short);
  const mine = await eventsOf(bus, "short");
  expect(answered(mine).ids).toEqual((await alone(short, { ...engine, segmentTokens: 128 })).ids);
  const logs = [await expectUndisturbed(longs[0]!, salts[0]!), await expectUndisturbed(longs[1]!, salts[1]!)];
  const at = (records: readonly LogRecord[], type: string) => records.find(({ event }) => event.type === type)!.sequence;
  expect(at(mine, "claimed")).toBeLessThan(at(logs[1]!, "handed_over"));
  expect(logs.flat().filter(({ event }) => event.type === "released" && event.reason === TURN_IS_OVER).length).toBeGreaterThan(0);
  await expect
    .poll(async () => [...(await bus.queue.messages("prefill")), ...(await bus.queue.messages("decode"))], { timeout: 20_000 })
    .toEqual([]);
});

test("a frozen worker is overtaken, and changes nothing when it wakes", async () => {
  const [zombie] = await Promise.all([start("decode"), start("prefill")]);
  const salt = jobs;
  const jobId = await submit(salt);
  const { epoch } = await untilEvent(bus, jobId, midAnswer);
  await zombie.freeze();
  await start("decode");
  await untilEvent(bus, jobId, (record) => record.epoch > epoch && record.event.type === "tokens");
  zombie.thaw();
  const records = await expectUndisturbed(jobId, salt);
  expect(records.findIndex((record) => record.epoch > epoch)).toBeGreaterThan(records.findLastIndex((record) => record.epoch === epoch));
});

test("Redis emptied and restarted under way costs time and nothing else", async () => {
  await Promise.all([start("decode"), start("prefill")]);
  const salt = jobs;
  const jobId = await submit(salt);
  await untilEvent(bus, jobId, midPrefill);
  await redis.restart();
  await untilEvent(bus, jobId, midAnswer);
  await redis.restart();
  await expectUndisturbed(jobId, salt);
});
