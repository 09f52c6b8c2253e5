import { createHash } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { protoPath as healthProto } from "grpc-health-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { busFromConfig } from "../../../services/shared/bus/from-config.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { playJob, playText, promptOf, type Script, type TestApi, testApi } from "../../support/api.ts";
import {
  ask,
  type Client,
  call,
  clientOf,
  closeClients,
  jobsAt,
  type Message,
  protoOptions,
  type Update,
  updatesOf,
} from "../../support/grpc.ts";
import { NatsServer } from "../../support/nats.ts";

/** Two replicas over a real record. */
let nats: NatsServer;
let bus: Bus;
let replicas: [TestApi, TestApi];
let client: Client;
let other: Client;

beforeAll(async () => {
  nats = await NatsServer.start();
  bus = busFromConfig(loadConfig({ LONGSHORE_NATS_URL: nats.url }));
  await bus.ready(60_000);
  replicas = [await testApi({ grpcPort: 0, graceMs: 50 }, bus), await testApi({ grpcPort: 0, graceMs: 50 }, bus)];
  [client, other] = replicas.map(({ grpc }) => jobsAt(grpc!)) as [Client, Client];
});
afterAll(async () => {
  closeClients();
  await Promise.all(replicas.map((api) => api.close()));
  await bus.close();
  await nats.stop();
});

const says = (text: string, end?: Script["end"]) => playText(replicas[0], text, end);

const CALLS =
  'Bay, then.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="bay" string="false">42</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';

test("a job is submitted, watched from the other replica, and got: thoughts, text and calls", async () => {
  const tools = [{ name: "find", description: "d", parameters: '{"limit":1.0,"10":1,"9":2}' }];
  const job = await call(client, "Submit", { ...ask, chat: { ...ask.chat, tools, thinking: true }, seed: 7, max_tokens: 90 });
  expect(job).toMatchObject({ id: expect.stringMatching(/^job_/), status: "JOB_STATUS_QUEUED", model: "yardlog" });
  const watched = updatesOf(other.Watch!({ id: job.id }));
  const request = await says(CALLS);
  expect(request).toMatchObject({ maxTokens: 90, detached: true, lane: "interactive", sampling: { seed: 7n } });
  expect(await promptOf(replicas[0], request)).toContain(
    '{"name": "find", "description": "d", "parameters": {"limit": 1.0, "10": 1, "9": 2}}',
  );
  const updates = await watched;
  const joined = (kind: string) => updates.flatMap(({ deltas }) => deltas.flatMap((delta) => (delta[kind] as string) ?? [])).join("");
  expect([joined("reasoning"), joined("content")]).toEqual(["Bay, then.", "Let me look."]);
  expect([...new Set(updates.map(({ status }) => status))]).toEqual(
    ["QUEUED", "PREFILL", "DECODE", "FINISHED"].map((status) => `JOB_STATUS_${status}`),
  );
  expect(updates.some(({ prefill }) => (prefill as { done?: number } | undefined)?.done === request.promptTokens)).toBe(true);
  expect(updates.at(-1)).toMatchObject({ finish_reason: "tool_calls", usage: { prompt_tokens: request.promptTokens } });
  const calls = [{ id: expect.stringMatching(/^call_/), name: "find", arguments: '{"bay": 42}' }];
  expect(await call(other, "Get", { id: job.id })).toMatchObject({
    status: "JOB_STATUS_FINISHED",
    answer: { reasoning: "Bay, then.", content: "Let me look.", tool_calls: calls, finish_reason: "tool_calls" },
  });
  for (const [i, { sequence }] of updates.entries())
    expect(await updatesOf(client.Watch!({ id: job.id, after: sequence })), `after ${sequence}`).toEqual(updates.slice(i + 1));
});

test("an effort, a developer's message and an answer to be continued mean what they do over HTTP", async () => {
  const messages = [{ role: "developer", content: "Say bays." }, ...ask.chat.messages, { role: "assistant", content: "In", prefix: true }];
  await call(client, "Submit", { ...ask, chat: { messages } });
  expect(await promptOf(replicas[0], await says(" bay 42."))).toBe(
    "<｜begin▁of▁sentence｜>Say bays.<｜User｜>Where is red-fox?<｜Assistant｜></think>In",
  );
  await call(client, "Submit", { ...ask, chat: { ...ask.chat, effort: "low" } });
  expect(await promptOf(replicas[0], await says("</think>42"))).toMatch(/<｜Assistant｜><think>$/);
});

test("a text and ids are completed as they are, in the lane that is asked for", async () => {
  const ids = [...(await replicas[0].tokenizer.encode("Yard log."))];
  for (const prompt of [{ text: "Yard log." }, { ids: { ids } }]) {
    await call(client, "Submit", { model: "yardlog", ...prompt, lane: "BATCH", stop: ["x"], logit_bias: { 5: 2 } });
    const request = await says("In bay 42.");
    expect([...(request.prompt as { ids: Int32Array }).ids]).toEqual(ids);
    expect(request).toMatchObject({ lane: "batch", stop: ["x"], sampling: { bias: { ids: [5], values: [2] } } });
  }
});

test("the same idempotency key joins the same job; with another request it is refused", async () => {
  const keyed = { ...ask, idempotency_key: "once" };
  const [first, second] = [await call(client, "Submit", keyed), await call(other, "Submit", keyed)];
  expect(second.id).toBe(first.id);
  await expect(call(client, "Submit", { ...keyed, max_tokens: 3 })).rejects.toMatchObject({ code: grpc.status.ALREADY_EXISTS });
  await call(client, "Cancel", { id: first.id });
});

test("a job is cancelled, once and again, and whoever watches it hears so", async () => {
  const { id } = await call(client, "Submit", ask);
  const watched = updatesOf(other.Watch!({ id }));
  expect(await call(client, "Cancel", { id })).toMatchObject({ status: "JOB_STATUS_CANCELLED", error: { code: "cancelled" } });
  expect(await call(client, "Cancel", { id })).toMatchObject({ status: "JOB_STATUS_CANCELLED" });
  expect((await watched).at(-1)).toMatchObject({ status: "JOB_STATUS_CANCELLED", error: { code: "cancelled" } });
});

test("a job that failed says so, and not what is ours", async () => {
  const { id } = await call(client, "Submit", ask);
  await says("In bay", async (claim) => void (await claim.append({ type: "failed", code: "INTERNAL", message: "secret" })));
  const job = await call(client, "Get", { id });
  expect(job).toMatchObject({ status: "JOB_STATUS_FAILED", answer: { content: "In bay" }, error: { code: "internal" } });
  expect(JSON.stringify([job, await updatesOf(client.Watch!({ id }))])).not.toContain("secret");
});

test("a call's deadline is the job's, and a call that is cancelled cancels it after the grace", async () => {
  const before = await bus.log.nowMs();
  const stream = client.Generate!(ask, new grpc.Metadata(), { deadline: Date.now() + 60_000 }) as grpc.ClientReadableStream<Update>;
  stream.on("error", () => {});
  const [{ id }] = (await once(stream, "data")) as [Message];
  const event = (await bus.log.first(String(id)))!.event as { request: { deadlineMs: number; detached: boolean } };
  expect(event.request.deadlineMs).toBeGreaterThan(before + 55_000);
  expect(event.request.deadlineMs).toBeLessThan((await bus.log.nowMs()) + 65_000);
  expect(event.request.detached).toBe(false);
  stream.cancel();
  const types: string[] = [];
  for await (const { event } of bus.log.follow(String(id), 0, AbortSignal.timeout(20_000))) types.push(event.type);
  expect(types).toEqual(["submitted", "cancelled"]);
});

test("an answer is generated in one call", async () => {
  const generated = updatesOf(client.Generate!(ask));
  await says("In bay 42.");
  const updates = await generated;
  expect(updates.flatMap(({ deltas }) => deltas.map(({ content }) => content)).join("")).toBe("In bay 42.");
  expect(updates.at(-1)).toMatchObject({ status: "JOB_STATUS_FINISHED", finish_reason: "stop" });
});

test("with keys, only their holders get in, and a tenant does not see another's jobs", async () => {
  const digests = ["a", "b"].map((key) => createHash("sha256").update(key).digest("hex"));
  const api = await testApi({ grpcPort: 0, apiKeys: digests.join(",") }, bus);
  try {
    const guarded = jobsAt(api.grpc!);
    const as = (key: string) => {
      const metadata = new grpc.Metadata();
      metadata.set("authorization", `Bearer ${key}`);
      return metadata;
    };
    await expect(call(guarded, "Submit", ask)).rejects.toMatchObject({ code: grpc.status.UNAUTHENTICATED });
    const { id } = await call(guarded, "Submit", ask, as("a"));
    expect(await call(guarded, "Get", { id }, as("a"))).toMatchObject({ id });
    await expect(call(guarded, "Get", { id }, as("b"))).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
    await expect(updatesOf(guarded.Watch!({ id }, as("b")))).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
    await call(guarded, "Cancel", { id }, as("a"));
  } finally {
    await api.close();
  }
});

test("a replica that stops tells its watchers to go elsewhere, and health that it does not serve", async () => {
  const api = await testApi({ grpcPort: 0 }, bus);
  const { id } = await call(client, "Submit", ask);
  const health = clientOf(loadSync(healthProto, protoOptions), "grpc.health.v1.Health", api.grpc!);
  expect(await call(health, "Check", { service: "longshore.v1.Jobs" })).toEqual({ status: "SERVING" });
  await expect(call(health, "Check", { service: "x" })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  const statuses = health.Watch!({ service: "" }) as grpc.ClientReadableStream<Message>;
  statuses.on("error", () => {});
  const heard: unknown[] = [];
  statuses.on("data", ({ status }) => heard.push(status));
  const stream = jobsAt(api.grpc!).Watch!({ id }) as grpc.ClientReadableStream<Update>;
  const [first] = (await once(stream, "data")) as [Update];
  const broken = once(stream, "error");
  stream.resume();
  await api.close();
  expect((await broken)[0]).toMatchObject({ code: grpc.status.UNAVAILABLE, details: expect.stringContaining("shutting down") });
  await expect.poll(() => heard, { timeout: 20_000 }).toEqual(["SERVING", "NOT_SERVING"]); // on a connection of its own
  const rest = updatesOf(other.Watch!({ id, after: first.sequence }));
  await call(client, "Cancel", { id });
  expect((await rest).map(({ status }) => status)).toEqual(["JOB_STATUS_CANCELLED"]);
});

test("a watcher who takes nothing is cut off after three heartbeats", async () => {
  const api = await testApi({ grpcPort: 0, heartbeatMs: 300 });
  const id = String((await call(jobsAt(api.grpc!), "Submit", ask)).id);
  const [word] = await api.tokenizer.encode(" fox");
  await playJob(api.bus, "yardlog", { ids: Array<number>(6_000).fill(word!) }); // a stream is sent 64 KiB unread; this is some 250
  const session = http2.connect(`http://${api.grpc}`);
  const headers = { ":method": "POST", ":path": "/longshore.v1.Jobs/Watch", "content-type": "application/grpc", te: "trailers" };
  const stream = session.request(headers);
  stream.on("error", () => {});
  stream.end(Buffer.from([0, 0, 0, 0, 2 + id.length, 10, id.length, ...Buffer.from(id)]));
  await new Promise((resolve) => stream.once("close", resolve));
  expect(stream.rstCode).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
  session.destroy();
  await api.close();
});

test("a watcher who does not read slows nobody, and then misses nothing", async () => {
  const api = await testApi({ grpcPort: 0 });
  try {
    const slow = jobsAt(api.grpc!);
    const { id } = await call(slow, "Submit", ask);
    const stream = slow.Watch!({ id }) as grpc.ClientReadableStream<Update>;
    await once(stream, "metadata");
    stream.pause();
    const text = "In bay 42. ".repeat(400);
    await playText(api, text);
    expect(await call(slow, "Get", { id })).toMatchObject({ status: "JOB_STATUS_FINISHED", answer: { content: text } });
    const updates = await updatesOf(stream);
    expect(updates.flatMap(({ deltas }) => deltas.map(({ content }) => content)).join("")).toBe(text);
  } finally {
    await api.close();
  }
});
