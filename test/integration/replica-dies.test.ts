import OpenAI from "openai";
import type { ResponseStreamEvent } from "openai/resources/responses/responses";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { settings } from "../chaos/cluster.ts";
import { type Client, call, closeClients, jobsAt, type Update } from "../support/grpc.ts";
import { NatsServer } from "../support/nats.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { RoleProcess } from "../support/role-process.ts";

interface Replica {
  readonly process: RoleProcess;
  readonly openai: OpenAI;
  readonly jobs: Client;
}

let nats: NatsServer;
let redis: RedisServer;
let replicas: readonly [Replica, Replica];
const running: RoleProcess[] = [];

async function startReplica(env: Readonly<Record<string, string>>): Promise<Replica> {
  const [port, grpcPort] = [String(await freePort()), String(await freePort())];
  const process = await RoleProcess.start("api", { ...env, LONGSHORE_PORT: port, LONGSHORE_GRPC_PORT: grpcPort });
  running.push(process);
  return {
    process,
    openai: new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: "none", maxRetries: 0 }),
    jobs: jobsAt(`127.0.0.1:${grpcPort}`),
  };
}

beforeAll(async () => {
  [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
  const env = { ...settings, LONGSHORE_NATS_URL: nats.url, LONGSHORE_REDIS_URL: redis.url, LONGSHORE_WEIGHTLESS_STEP_MS: "20" };
  for (const role of ["prefill", "decode"] as const) running.push(await RoleProcess.start(role, env));
  replicas = [await startReplica(env), await startReplica(env)];
});
afterAll(async () => {
  closeClients();
  await Promise.all(running.map((process) => process.stop()));
  await Promise.all([nats.stop(), redis.stop()]);
});

const watch = ({ jobs }: Replica, from: object) => jobs.Watch!(from) as AsyncIterable<Update>;

/** What comes until the connection breaks, or `enough` does; `enough` may end the wait of others. */
async function heard<T>(source: AsyncIterable<T>, onItem: (items: readonly T[]) => void): Promise<T[]> {
  const items: T[] = [];
  try {
    for await (const item of source) {
      items.push(item);
      onItem(items);
    }
  } catch {
    // the replica is dead: what was heard before stands
  }
  return items;
}

test("kill -9 of the replica that streams a response and a watched job: the other goes on behind the last event, and nothing is missing or twice", async () => {
  const [first, second] = replicas;
  const text = "Where is red-fox? ".repeat(20);
  const asked = { model: "yardlog", input: text, max_output_tokens: 200, temperature: 1, seed: 3, background: true }; // seed is ours
  const response = await first.openai.responses.create(asked);
  const chat = { messages: [{ role: "user", content: text }] };
  const { id } = await call(first.jobs, "Submit", { model: "yardlog", chat, max_tokens: 200, temperature: 1, seed: 4 });
  const waits = { response: false, job: false };
  const killOnceBothSpeak = () => {
    if (waits.response && waits.job) first.process.signal("SIGKILL");
  };
  const [events, updates] = await Promise.all([
    heard<ResponseStreamEvent>(await first.openai.responses.retrieve(response.id, { stream: true }), (all) => {
      waits.response = all.length > 12;
      killOnceBothSpeak();
    }),
    heard<Update>(watch(first, { id }), (all) => {
      waits.job = all.filter(({ deltas }) => deltas.length > 0).length > 4;
      killOnceBothSpeak();
    }),
  ]);
  expect(events.at(-1)!.type).toBe("response.output_text.delta");
  expect(updates.at(-1)!.status).toBe("JOB_STATUS_DECODE");

  const rest = await heard<ResponseStreamEvent>(
    await second.openai.responses.retrieve(response.id, { stream: true, starting_after: events.at(-1)!.sequence_number }),
    () => {},
  );
  const whole = await heard<ResponseStreamEvent>(await second.openai.responses.retrieve(response.id, { stream: true }), () => {});
  expect([...events, ...rest]).toEqual(whole);
  expect(whole.at(-1)!.type).toMatch(/^response\.(completed|incomplete)$/);
  const more = await heard(watch(second, { id, after: updates.at(-1)!.sequence }), () => {});
  expect([...updates, ...more]).toEqual(await heard(watch(second, { id }), () => {}));
  expect(more.at(-1)).toMatchObject({ status: "JOB_STATUS_FINISHED", finish_reason: expect.stringMatching(/^(stop|length)$/) });
});
