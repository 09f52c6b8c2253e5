import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import { resolve } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { loadSync, type PackageDefinition } from "@grpc/proto-loader";
import fc from "fast-check";
import { protoPath as healthProto } from "grpc-health-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveEmbedded } from "../../services/cli/serve.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { playJob, type TestApi, testApi } from "../support/api.ts";
import { NatsServer } from "../support/nats.ts";

/** A client made from the .proto file, as a user of the API makes one; two replicas over a real record. */

type Message = Record<string, unknown>;
type Client = grpc.Client & Record<string, (...args: unknown[]) => unknown>;
type Update = Message & { sequence: number; status: string; deltas: Record<string, unknown>[] };

const options = { keepCase: true, longs: Number, enums: String, arrays: true, oneofs: true, includeDirs: ["proto"] };
const jobs = loadSync("longshore/v1/jobs.proto", options);
const clients: Client[] = [];

function clientOf(
  definition: PackageDefinition,
  service: string,
  address: string,
  credentials = grpc.credentials.createInsecure(),
): Client {
  const made = grpc.makeGenericClientConstructor(definition[service] as grpc.ServiceDefinition, service);
  const [door, name] =
    credentials === undefined ? [grpc.credentials.createInsecure(), {}] : [credentials, { "grpc.ssl_target_name_override": "localhost" }];
  const client = new made(address, door, name) as unknown as Client;
  clients.push(client);
  return client;
}

const call = (client: Client, method: string, request: Message, metadata = new grpc.Metadata(), deadline?: number) =>
  new Promise<Message>((resolve, reject) => {
    client[method]!(
      request,
      metadata,
      deadline === undefined ? {} : { deadline: Date.now() + deadline },
      (error: unknown, response: Message) => (error === null ? resolve(response) : reject(error)),
    );
  });

async function updatesOf(stream: unknown): Promise<Update[]> {
  const all: Update[] = [];
  for await (const update of stream as AsyncIterable<Update>) all.push(update);
  return all;
}

let nats: NatsServer;
let bus: Bus;
let replicas: [TestApi, TestApi];
let client: Client;
let other: Client;

beforeAll(async () => {
  nats = await NatsServer.start();
  bus = busFromConfig(loadConfig({ LONGSHORE_NATS_URL: nats.url }));
  await bus.ready(10_000);
  replicas = [await testApi({ grpcPort: 0, graceMs: 50 }, bus), await testApi({ grpcPort: 0, graceMs: 50 }, bus)];
  [client, other] = replicas.map(({ grpc }) => clientOf(jobs, "longshore.v1.Jobs", grpc!)) as [Client, Client];
});
afterAll(async () => {
  for (const client of clients) client.close();
  await Promise.all(replicas.map((api) => api.close()));
  await bus.close();
  await nats.stop();
});

const says = async (text: string, end?: Parameters<typeof playJob>[2]["end"]) =>
  playJob(bus, "yardlog", { ids: [...(await replicas[0].tokenizer.encode(text))], ...(end === undefined ? {} : { end }) });
const promptOf = async ({ prompt }: Awaited<ReturnType<typeof says>>) => replicas[0].tokenizer.decode((prompt as { ids: Int32Array }).ids);

const ask = { model: "yardlog", chat: { messages: [{ role: "user", content: "Where is red-fox?" }] } };
const CALLS =
  'Bay, then.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="bay" string="false">42</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';

test("a job is submitted, watched from the other replica, and got: thoughts, text and calls", async () => {
  const tools = [{ name: "find", description: "d", parameters: '{"limit":1.0,"10":1,"9":2}' }];
  const job = await call(client, "Submit", { ...ask, chat: { ...ask.chat, tools, thinking: true }, seed: 7, max_tokens: 90 });
  expect(job).toMatchObject({ id: expect.stringMatching(/^job_/), status: "JOB_STATUS_QUEUED", model: "yardlog" });
  const watched = updatesOf(other.Watch!({ id: job.id }));
  const request = await says(CALLS);
  expect(request).toMatchObject({ maxTokens: 90, detached: true, lane: "interactive", sampling: { seed: 7n } });
  expect(await promptOf(request)).toContain('{"name": "find", "description": "d", "parameters": {"limit": 1.0, "10": 1, "9": 2}}');
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
  expect(event.request.deadlineMs).toBeLessThan(before + 65_000);
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

const refused: readonly (readonly [string, string, Message, grpc.status, RegExp])[] = [
  ["no prompt", "Submit", { model: "yardlog" }, grpc.status.INVALID_ARGUMENT, /prompt/],
  ["an unknown model", "Submit", { ...ask, model: "x" }, grpc.status.NOT_FOUND, /not served/],
  ["a wrong number", "Submit", { ...ask, temperature: 9 }, grpc.status.INVALID_ARGUMENT, /temperature/],
  ["not a number", "Submit", { ...ask, temperature: Number.NaN }, grpc.status.INVALID_ARGUMENT, /temperature/],
  ["an unknown role", "Submit", { ...ask, chat: { messages: [{ role: "x" }] } }, grpc.status.INVALID_ARGUMENT, /messages\[0\]\.role/],
  [
    "a schema that is no JSON",
    "Submit",
    { ...ask, chat: { ...ask.chat, tools: [{ name: "f", parameters: "{" }] } },
    grpc.status.INVALID_ARGUMENT,
    /tools\[0\]/,
  ],
  [
    "a format that is no JSON",
    "Submit",
    { ...ask, chat: { ...ask.chat, response_format: "{" } },
    grpc.status.INVALID_ARGUMENT,
    /response_format/,
  ],
  [
    "an unknown format",
    "Submit",
    { ...ask, chat: { ...ask.chat, response_format: '{"type":"x"}' } },
    grpc.status.INVALID_ARGUMENT,
    /response_format/,
  ],
  ["an unknown job", "Get", { id: "job_00000000000000000000" }, grpc.status.NOT_FOUND, /no job/],
  ["no job", "Cancel", {}, grpc.status.NOT_FOUND, /no job/],
];
test.each(refused)("%s is refused with a status", async (_, method, request, code, details) => {
  await expect(call(client, method, request)).rejects.toMatchObject({ code, details: expect.stringMatching(details) });
});

test("with keys, only their holders get in, and a tenant does not see another's jobs", async () => {
  const digests = ["a", "b"].map((key) => createHash("sha256").update(key).digest("hex"));
  const api = await testApi({ grpcPort: 0, apiKeys: digests.join(",") }, bus);
  try {
    const guarded = clientOf(jobs, "longshore.v1.Jobs", api.grpc!);
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
  const health = clientOf(loadSync(healthProto, options), "grpc.health.v1.Health", api.grpc!);
  expect(await call(health, "Check", { service: "longshore.v1.Jobs" })).toEqual({ status: "SERVING" });
  await expect(call(health, "Check", { service: "x" })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  const statuses = health.Watch!({ service: "" }) as grpc.ClientReadableStream<Message>;
  statuses.on("error", () => {});
  const heard: unknown[] = [];
  statuses.on("data", ({ status }) => heard.push(status));
  const stream = clientOf(jobs, "longshore.v1.Jobs", api.grpc!).Watch!({ id }) as grpc.ClientReadableStream<Update>;
  const [first] = (await once(stream, "data")) as [Update];
  const broken = once(stream, "error");
  stream.resume();
  await api.close();
  expect((await broken)[0]).toMatchObject({ code: grpc.status.UNAVAILABLE, details: expect.stringContaining("shutting down") });
  expect(heard).toEqual(["SERVING", "NOT_SERVING"]);
  const rest = updatesOf(other.Watch!({ id, after: first.sequence }));
  await call(client, "Cancel", { id });
  expect((await rest).map(({ status }) => status)).toEqual(["JOB_STATUS_CANCELLED"]);
});

test("reflection names the service and describes it", async () => {
  const definition = loadSync(resolve("node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto"), options);
  const reflection = clientOf(definition, "grpc.reflection.v1.ServerReflection", replicas[0].grpc!);
  const stream = reflection.ServerReflectionInfo!() as grpc.ClientDuplexStream<Message, Message>;
  const answers = updatesOf(stream);
  stream.write({ list_services: "" });
  stream.write({ file_containing_symbol: "longshore.v1.Jobs" });
  stream.end();
  const [listed, described] = (await answers) as unknown as [Message, Message];
  expect(listed).toMatchObject({ list_services_response: { service: [{ name: "longshore.v1.Jobs" }, { name: "longshore.v1.Batches" }] } });
  const { file_descriptor_proto: files } = described.file_descriptor_response as { file_descriptor_proto: Buffer[] };
  expect(Buffer.concat(files).includes("SubmitRequest")).toBe(true);
});

test("over TLS, when the API has a certificate", async () => {
  const api = await testApi({ grpcPort: 0, tlsCertFile: "test/support/tls/cert.pem", tlsKeyFile: "test/support/tls/key.pem" }, bus);
  try {
    const credentials = grpc.credentials.createSsl(readFileSync("test/support/tls/cert.pem"));
    const { id } = await call(clientOf(jobs, "longshore.v1.Jobs", api.grpc!, credentials), "Submit", ask);
    expect(await call(client, "Cancel", { id })).toMatchObject({ id, status: "JOB_STATUS_CANCELLED" });
  } finally {
    await api.close();
  }
});

test("an answer is held to the schema that is asked for, and the schema reaches the prompt to the letter", async () => {
  const cluster = await serveEmbedded(
    loadConfig({ LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_GRPC_PORT: "0" }),
    silentLog,
  );
  try {
    const asking = clientOf(jobs, "longshore.v1.Jobs", cluster.api.grpc!);
    const schema =
      '{"type":"object","properties":{"bay":{"type":"integer","minimum":1,"maximum":99}},"required":["bay"],"additionalProperties":false}';
    const response_format = `{"type":"json_schema","json_schema":{"name":"place","schema":${schema}}}`;
    const updates = await updatesOf(
      asking.Generate!({ ...ask, chat: { ...ask.chat, response_format }, max_tokens: 60, seed: 3, temperature: 1 }),
    );
    const text = updates.flatMap(({ deltas }) => deltas.map(({ content }) => content ?? "")).join("");
    expect(JSON.parse(text)).toEqual({ bay: expect.any(Number) });
    expect(updates.at(-1)).toMatchObject({ finish_reason: "stop" });
    const job = (await cluster.cluster.bus.log.first(String(updates[0]!.id)))!.event as { request: { prompt: { ids: Int32Array } } };
    expect(await cluster.cluster.opened.tokenizer.decode(job.request.prompt.ids)).toContain('"minimum": 1, "maximum": 99');
  } finally {
    await cluster.stop();
  }
});

test("a watcher who does not read slows nobody, and then misses nothing", async () => {
  const api = await testApi({ grpcPort: 0 });
  try {
    const slow = clientOf(jobs, "longshore.v1.Jobs", api.grpc!);
    const { id } = await call(slow, "Submit", ask);
    const stream = slow.Watch!({ id }) as grpc.ClientReadableStream<Update>;
    await once(stream, "metadata");
    stream.pause();
    const text = "In bay 42. ".repeat(400);
    await playJob(api.bus, "yardlog", { ids: [...(await api.tokenizer.encode(text))] });
    expect(await call(slow, "Get", { id })).toMatchObject({ status: "JOB_STATUS_FINISHED", answer: { content: text } });
    const updates = await updatesOf(stream);
    expect(updates.flatMap(({ deltas }) => deltas.map(({ content }) => content)).join("")).toBe(text);
  } finally {
    await api.close();
  }
});

test("a batch is submitted, got until it is complete, and cannot be cancelled then", async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_GRPC_PORT: "0" };
  const cluster = await serveEmbedded(loadConfig(settings), silentLog);
  try {
    const batches = clientOf(jobs, "longshore.v1.Batches", cluster.api.grpc!);
    const line = (custom_id: string) => ({
      ...{ custom_id, method: "POST", url: "/v1/completions" },
      body: { model: "yardlog", prompt: "Yard log.", max_tokens: 3 },
    });
    const form = new FormData();
    form.set("purpose", "batch");
    form.set("file", new Blob([["a", "b"].map((id) => JSON.stringify(line(id))).join("\n")]), "lines.jsonl");
    const file = (await (await fetch(`${cluster.api.url}/v1/files`, { method: "POST", body: form })).json()) as { id: string };
    const asked = { input_file_id: file.id, endpoint: "/v1/completions", metadata: { a: "b" }, idempotency_key: "once" };
    const { id, status } = await call(batches, "Submit", asked);
    expect(status).toBe("validating");
    expect(await call(batches, "Submit", asked)).toMatchObject({ id });
    const unkeyed = { ...asked, idempotency_key: "" };
    expect((await call(batches, "Submit", unkeyed)).id).not.toBe((await call(batches, "Submit", unkeyed)).id);
    await expect(call(batches, "Submit", { ...asked, metadata: {} })).rejects.toMatchObject({ code: grpc.status.ALREADY_EXISTS });
    await expect.poll(async () => (await call(batches, "Get", { id })).status, { timeout: 30_000 }).toBe("completed");
    expect(await call(batches, "Get", { id })).toMatchObject({
      ...{ model: "yardlog", input_file_id: file.id, metadata: { a: "b" }, request_counts: { total: 2, completed: 2 } },
      usage: { output_tokens: 6 },
    });
    await expect(call(batches, "Cancel", { id })).rejects.toMatchObject({ code: grpc.status.FAILED_PRECONDITION });
    await expect(call(batches, "Get", { id: "batch_00000000000000000000" })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
    await expect(call(batches, "Submit", { input_file_id: file.id })).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
    await expect(call(batches, "Submit", { ...asked, input_file_id: "x" })).rejects.toMatchObject({
      details: expect.stringMatching(/input_file_id/),
    });
  } finally {
    await cluster.stop();
  }
});

test("without a key the answer comes while the message is still on its way", async () => {
  const api = await testApi({ grpcPort: 0, apiKeys: createHash("sha256").update("k").digest("hex") });
  const session = http2.connect(`http://${api.grpc}`);
  const headers = { ":method": "POST", ":path": "/longshore.v1.Jobs/Submit", "content-type": "application/grpc", te: "trailers" };
  const stream = session.request(headers);
  const [answer] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  expect(answer["grpc-status"]).toBe(String(grpc.status.UNAUTHENTICATED));
  session.destroy();
  await api.close();
});

test("whatever is sent, an answer comes that is not our fault", async () => {
  const api = await testApi({ grpcPort: 0 });
  const fuzzed = clientOf(jobs, "longshore.v1.Jobs", api.grpc!);
  const text = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.constantFrom("user", "tool", "</think>", "<｜User｜>", "{", '{"a":[1]}', "yardlog"),
  );
  const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, 1, -1, 2 ** 31, 2 ** 53));
  const tool = fc.record({ name: text, description: text, parameters: text }, { requiredKeys: [] });
  const called = fc.record({ id: text, name: text, arguments: text }, { requiredKeys: [] });
  const said = fc.record(
    { role: text, content: text, reasoning_content: text, tool_calls: fc.array(called), tool_call_id: text },
    { requiredKeys: [] },
  );
  const chat = fc.record(
    {
      messages: fc.array(said, { maxLength: 4 }),
      tools: fc.array(tool, { maxLength: 2 }),
      thinking: fc.boolean(),
      effort: text,
      response_format: text,
    },
    { requiredKeys: [] },
  );
  const message = fc.record(
    {
      ...{ model: fc.constantFrom("yardlog", "", "x"), chat, text, ids: fc.record({ ids: fc.array(fc.integer(), { maxLength: 4 }) }) },
      ...{
        max_tokens: fc.nat(),
        temperature: number,
        top_p: number,
        top_k: fc.nat(),
        min_p: number,
        seed: fc.integer(),
        stop: fc.array(text),
      },
      ...{ presence_penalty: number, frequency_penalty: number, logit_bias: fc.dictionary(fc.nat(9).map(String), number) },
      ...{ deadline_seconds: number, lane: fc.constantFrom("BATCH", "INTERACTIVE", 7), idempotency_key: fc.stringMatching(/^[!-~]{0,9}$/) },
    },
    { requiredKeys: ["model"] },
  );
  const fine: readonly grpc.status[] = [grpc.status.OK, grpc.status.INVALID_ARGUMENT, grpc.status.NOT_FOUND, grpc.status.ALREADY_EXISTS];
  const answers = [...fine, grpc.status.RESOURCE_EXHAUSTED];
  const codeOf = (answer: Promise<unknown>) =>
    answer.then(
      () => grpc.status.OK,
      ({ code }: grpc.ServiceError) => code,
    );
  try {
    await fc.assert(
      fc.asyncProperty(message, async (message) => {
        expect(answers).toContain(await codeOf(call(fuzzed, "Submit", message)));
      }),
      { numRuns: 150 },
    );
    const raw = (bytes: Uint8Array) =>
      new Promise((resolve, reject) => {
        const same = (buffer: Buffer) => buffer;
        const done = (error: unknown) => (error === null ? resolve(null) : reject(error));
        fuzzed.makeUnaryRequest("/longshore.v1.Jobs/Submit", same, same, Buffer.from(bytes), done);
      });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        expect([...answers, grpc.status.INTERNAL]).toContain(await codeOf(raw(bytes))); // INTERNAL: no message, by grpc-js's own word
      }),
      { numRuns: 100 },
    );
    expect(await codeOf(call(fuzzed, "Get", { id: "" }))).toBe(grpc.status.NOT_FOUND);
  } finally {
    await api.close();
  }
});
