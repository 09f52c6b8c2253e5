import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Admission } from "../../services/api/admission/admission.ts";
import { submit } from "../../services/api/submit.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { isTerminal } from "../../services/shared/bus/events.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { Engine } from "../../services/shared/engine/engine.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { untilEvent } from "../support/answers.ts";
import { type TestApi, testApi } from "../support/api.ts";
import { until } from "../support/bus.ts";
import { promptIds } from "../support/model.ts";
import { NatsServer } from "../support/nats.ts";
import { overriding } from "../support/overriding.ts";
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
  const admission = new Admission(bus, clock, "m", { queueJobsMax: 10_000, backlogTokensMax: 1e9, shareMs: 10_000 });
  const ends: Promise<string>[] = [];
  const retryAfter: number[] = [];

  const ask = async (salt: number) => {
    const { prompt: _, promptTokens: __, tenant, ...job } = requestOf({ maxTokens: 8, deadlineMs: (await bus.log.nowMs()) + DEADLINE_MS });
    const submission = { tenant, request: job, ids: promptIds(PROMPT_TOKENS, salt), idempotencyKey: null, bodyHash: "" };
    const startMs = clock.monotonicMs();
    try {
      const { jobId } = await submit({ bus, random, admission }, submission);
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
  /** What two prefill workers that have shown nothing yet are taken to do, and what of its time a job may be expected to need, is jobs of three seconds for 105. */
  const PROMPT_TOKENS = 1_200;
  const TOKENS_PER_SECOND = 2 * 200;
  const DEADLINE_SECONDS = 150;
  const FIT = (0.7 * DEADLINE_SECONDS * TOKENS_PER_SECOND) / PROMPT_TOKENS;
  const ASKED = 5 * FIT;

  let server: NatsServer;
  let bus: Bus;
  let cluster: TestCluster;
  let api: TestApi;
  /** Until then nothing is computed. */
  let begin = () => {};
  beforeAll(async () => {
    server = await NatsServer.start();
    bus = openBus({ url: server.url, beatLifeMs: 60_000 });
    await bus.ready(60_000);
    cluster = testCluster({ busOf: () => bus });
    api = await testApi({}, bus);
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const engineOf = (engine: Engine) => overriding(engine, { prefill: (...asked) => begun.then(() => engine.prefill(...asked)) });
    const engine = { model: "yardlog", chunkTokens: PROMPT_TOKENS, eosOneIn: 0 };
    const settings = { model: engine.model, claimMs: 120_000 };
    for (const role of ["prefill", "prefill", "decode"] as const) cluster.start(role, { engine, engineOf, settings });
    for (const role of ["prefill", "decode"] as const) await until(async () => (await bus.registry.beats(role)).size > 0);
  });
  afterAll(async () => {
    begin();
    await api.close();
    await cluster.close();
    await server.stop();
  });

  interface Answer {
    readonly status: number;
    readonly retryAfter: number;
    readonly tokens: number;
  }

  async function ask(salt: number): Promise<Answer> {
    const prompt = [...promptIds(PROMPT_TOKENS, salt)];
    const body = { model: "yardlog", prompt, max_tokens: 8, deadline_seconds: DEADLINE_SECONDS };
    const response = await fetch(`${api.url}/v1/completions`, {
      ...{ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
    });
    const { usage } = (await response.json()) as { usage?: { completion_tokens: number } };
    const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
    return { status: response.status, retryAfter, tokens: usage?.completion_tokens ?? 0 };
  }

  test("what is accepted of five times the capacity is answered before its deadline, the rest is 429 before anything is computed", async () => {
    const early: Answer[] = [];
    const asked = Array.from({ length: ASKED }, (_, salt) =>
      ask(salt).then((answer) => {
        early.push(answer);
        return answer;
      }),
    );
    const accepted = async () => (await bus.queue.messages("prefill")).length;
    await until(async () => early.length + (await accepted()) === ASKED);
    const refused = [...early];
    expect(refused.every(({ status, retryAfter }) => status === 429 && Number.isInteger(retryAfter) && retryAfter >= 1)).toBe(true);
    expect(await accepted()).toBeLessThanOrEqual(FIT);
    expect(await accepted()).toBeGreaterThan(0.8 * FIT);
    begin();
    const answers = await Promise.all(asked);
    const done = answers.filter((answer) => !refused.includes(answer));
    expect(done.every(({ status, tokens }) => status === 200 && tokens === 8)).toBe(true);
    expect((await ask(ASKED)).status, "and then all is as before").toBe(200);
  });
});
