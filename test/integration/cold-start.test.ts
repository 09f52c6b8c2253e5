import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { ask } from "../chaos/client.ts";
import { settings } from "../chaos/cluster.ts";
import { jobsOf, oracle } from "../chaos/jobs.ts";
import { NatsServer } from "../support/nats.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { RoleProcess } from "../support/role-process.ts";

const SEED = 18;
const PATIENCE_MS = 45_000;
/** Room for some prompts that do not fit a message, and not for many. */
const PAYLOADS_MAX_BYTES = 1_048_576;

let nats: NatsServer;
let redis: RedisServer;
let api: string;
let env: Record<string, string>;
const running: RoleProcess[] = [];

beforeAll(async () => {
  [nats, redis] = await Promise.all([NatsServer.start(), startRedis()]);
  const port = await freePort();
  api = `http://127.0.0.1:${port}`;
  env = {
    ...settings,
    LONGSHORE_NATS_URL: nats.url,
    LONGSHORE_REDIS_URL: redis.url,
    LONGSHORE_PORT: String(port),
    LONGSHORE_PAYLOADS_MAX_BYTES: String(PAYLOADS_MAX_BYTES),
  };
  running.push(await RoleProcess.start("api", env));
});
afterAll(async () => {
  await Promise.all(running.map((process) => process.stop()));
  await Promise.all([nats.stop(), redis.stop()]);
});

const post = (path: string, body: object) =>
  fetch(`${api}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

test.each(["api", "prefill", "batch-coordinator"] as const)(
  "%s, whose port is taken, says so and ends: whoever watches over it may try again",
  async (role) => {
    const taken = { LONGSHORE_STATUS_PORT: env.LONGSHORE_PORT! };
    const late = RoleProcess.spawn(role, { ...env, ...taken });
    running.push(late);
    expect(await late.exited).toEqual({ code: 1, signal: null });
    expect(late.output).toContain(`cannot listen at 127.0.0.1:${env.LONGSHORE_PORT} (EADDRINUSE)`);
  },
);

test("an object store that is full refuses long prompts with 429, and nothing else", async () => {
  const statuses: number[] = [];
  const prompt = Array.from({ length: 20_000 }, (_, i) => 3 + (i % 1_000));
  while (statuses.length < 40 && (statuses.at(-1) ?? 202) === 202) {
    const response = await post("/v1/jobs", { kind: "completion", request: { model: "yardlog", prompt, max_tokens: 1 } });
    statuses.push(response.status);
    expect(Number(response.headers.get("retry-after")) > 0).toBe(response.status === 429);
  }
  expect(statuses.at(-1)).toBe(429);
  expect(statuses.length).toBeGreaterThan(5);
  const small = await post("/v1/jobs", { kind: "completion", request: { model: "yardlog", prompt: "Yard log.", max_tokens: 1 } });
  expect(small.status).toBe(202);
});

test("jobs that came before any worker wait with heartbeats, and are done when workers come", async () => {
  const { vocabSize, answer } = await oracle();
  const jobs = jobsOf(SEED, 6, vocabSize);
  const replies = jobs.map((job) => ask([api], job, PATIENCE_MS));
  const waiting = await post("/v1/completions", { model: "yardlog", prompt: "Yard log.", max_tokens: 5, stream: true });
  const heard = waiting.body!.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  for (let beats = 0; beats < 3; ) if (((await heard.next()).value as string).includes(": waiting")) beats++;

  running.push(...(await Promise.all((["prefill", "decode"] as const).map((role) => RoleProcess.start(role, env)))));
  for (const [i, job] of jobs.entries()) expect((await replies[i]!).text).toBe((await answer(job)).text);
  let rest = "";
  for (let next = await heard.next(); next.done !== true; next = await heard.next()) rest += next.value as string;
  expect(rest).toContain("data: [DONE]");
});
