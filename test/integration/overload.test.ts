import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Admission } from "../../services/api/admission.ts";
import { submit } from "../../services/api/submit.ts";
import { type Bus, isTerminal } from "../../services/shared/bus/contract.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { untilEvent } from "../support/answers.ts";
import { type TestApi, testApi } from "../support/api.ts";
import { promptIds } from "../support/model.ts";
import { NatsServer } from "../support/nats.ts";
import { VirtualClock } from "../support/virtual-clock.ts";
import { requestOf, type TestCluster, testCluster } from "../support/workers.ts";

/** 480 tokens are five chunks of 96: two prefill workers do twenty prompts a second, and decode keeps up. */
const engine = { chunkMs: 20, stepMs: 2 };
const PROMPT_TOKENS = 480;
const CAPACITY = 20;
const SECONDS = 30;
const DEADLINE_MS = 4_000;

test("at five times the capacity accepted work meets its deadline; the rest is refused at once, with the time to come back", async () => {
  const clock = new VirtualClock();
  const random = seededRandom(4);
  const cluster = testCluster({ clock });
  const { bus } = cluster;
  const admission = new Admission(bus, clock, "m", { queueJobsMax: 10_000, backlogTokensMax: 1e9 });
  const ends: Promise<string>[] = [];
  const retryAfter: number[] = [];

  const ask = async (salt: number) => {
    const { prompt: _, promptTokens: __, tenant, ...job } = requestOf({ maxTokens: 8, deadlineMs: (await bus.log.nowMs()) + DEADLINE_MS });
    const submission = { tenant, request: job, ids: promptIds(PROMPT_TOKENS, salt), idempotencyKey: null, bodyHash: "" };
    const startMs = clock.monotonicMs();
    try {
      const { jobId } = await submit({ bus, clock, random, admission }, submission);
      ends.push(untilEvent(bus, jobId, ({ event }) => isTerminal(event)).then(({ event }) => event.type));
    } catch (error) {
      if (!(error instanceof ServingError) || error.code !== "OVERLOADED") throw error;
      expect(clock.monotonicMs() - startMs).toBeLessThan(50);
      retryAfter.push(error.retryAfterSeconds ?? 0);
    }
  };
  const load = async () => {
    for (const role of ["prefill", "prefill", "decode"] as const)
      cluster.start(role, { engine: { ...engine, turn: () => clock.sleep(0) } });
    for (let i = 0; i < 5 * CAPACITY * SECONDS; i++) {
      await ask(i);
      await clock.sleep(1_000 / (5 * CAPACITY));
    }
    return Promise.all(ends);
  };
  const ended = await clock.run(load());

  expect(ended.filter((type) => type !== "finished")).toEqual([]);
  expect(ended.length).toBeGreaterThan(0.85 * CAPACITY * SECONDS);
  expect(ended.length + retryAfter.length).toBe(5 * CAPACITY * SECONDS);
  expect(Math.min(...retryAfter)).toBeGreaterThanOrEqual(1);
  expect(Math.max(...retryAfter)).toBeLessThanOrEqual(5);
  await clock.run(cluster.close());
});

describe("over a real NATS and real HTTP", () => {
  /** Five chunks of 60 ms: two workers do at most 6.7 prompts a second, on a slow machine fewer. */
  const engine = { model: "yardlog", chunkMs: 60, stepMs: 2, eosOneIn: 0 };
  const PER_SECOND_MAX = (2 * 1_000) / (5 * engine.chunkMs);
  const LOAD_MS = 8_000;
  const DEADLINE_SECONDS = 6;

  let server: NatsServer;
  let bus: Bus;
  let cluster: TestCluster;
  let api: TestApi;
  beforeAll(async () => {
    server = await NatsServer.start();
    bus = openBus({ url: server.url });
    await bus.ready(60_000);
    cluster = testCluster({ busOf: () => bus });
    api = await testApi({}, bus);
    const settings = { model: engine.model, claimMs: 20_000 };
    for (const role of ["prefill", "prefill", "decode"] as const) cluster.start(role, { engine, settings });
  });
  afterAll(async () => {
    await api.close();
    await cluster.close();
    await server.stop();
  });

  interface Answer {
    readonly status: number;
    readonly ms: number;
    readonly retryAfter: number;
    readonly tokens: number;
  }

  async function ask(salt: number): Promise<Answer> {
    const startMs = performance.now();
    const prompt = [...promptIds(PROMPT_TOKENS, salt)];
    const body = { model: "yardlog", prompt, max_tokens: 8, deadline_seconds: DEADLINE_SECONDS };
    const response = await fetch(`${api.url}/v1/completions`, {
      ...{ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
    });
    const { usage } = (await response.json()) as { usage?: { completion_tokens: number } };
    const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
    return { status: response.status, ms: performance.now() - startMs, retryAfter, tokens: usage?.completion_tokens ?? 0 };
  }

  /** Tokens a second that the prefill workers show together. */
  async function pace(): Promise<number> {
    const beats = [...(await bus.registry.beats("prefill")).values()].map((beat) => JSON.parse(beat) as { tokensPerSecond: number });
    return beats.reduce((sum, { tokensPerSecond }) => sum + tokensPerSecond, 0);
  }
  const median = (answers: readonly Answer[]) => answers.map(({ ms }) => ms).sort((a, b) => a - b)[answers.length >> 1]!;

  test("what is accepted of five times the capacity is answered before its deadline, the rest is 429 at once", async () => {
    const asked: Promise<Answer>[] = [];
    const startMs = performance.now();
    for (let i = 0; performance.now() < startMs + LOAD_MS; i++) {
      asked.push(ask(i));
      await sleep(Math.max(0, startMs + (i + 1) * (1_000 / (5 * PER_SECOND_MAX)) - performance.now()));
    }
    const answers = await Promise.all(asked);
    const done = answers.filter(({ status }) => status === 200);
    const refused = answers.filter(({ status }) => status === 429);

    expect([...new Set(answers.map(({ status }) => status))].sort()).toEqual([200, 429]);
    expect(done.every(({ tokens }) => tokens === 8)).toBe(true);
    expect(refused.length).toBeGreaterThan(2 * done.length);
    expect(refused.every(({ retryAfter }) => Number.isInteger(retryAfter) && retryAfter >= 1)).toBe(true);
    expect(median(refused)).toBeLessThan(median(done) / 5);
    const worked = (done.length * PROMPT_TOKENS) / (performance.now() - startMs);
    expect(1_000 * worked, "the workers had work all the time").toBeGreaterThan(0.6 * (await pace()));

    const after = await ask(497);
    expect([after.status, after.ms < median(done)], "and then all is as before").toEqual([200, true]);
  });
});
