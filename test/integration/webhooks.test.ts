import { randomBytes } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import OpenAI from "openai";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { batchUntil, chatLine, createBatch, hasEnded } from "../support/batches.ts";

const secret = `whsec_${randomBytes(32).toString("base64")}`;
interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

let receiver: Server;
let cluster: Served;
let client: OpenAI;
const received: Received[] = [];
/** Statuses of the next answers; 200 when there are none. */
const answers: number[] = [];

beforeAll(async () => {
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (text: Buffer) => {
      body += text;
    });
    request.on("end", () => {
      received.push({ headers: request.headers, body });
      response.writeHead(answers.shift() ?? 200).end();
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => receiver.once("listening", resolve));
  const settings = {
    LONGSHORE_ENGINE: "weightless",
    LONGSHORE_PORT: "0",
    LONGSHORE_BEAT_MS: "100",
    LONGSHORE_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`,
    LONGSHORE_WEBHOOK_SECRET: secret,
  };
  cluster = await serveEmbedded(loadConfig(settings), silentLog);
  client = new OpenAI({ baseURL: `${cluster.api.url}/v1`, apiKey: "none", maxRetries: 0, webhookSecret: secret });
});
afterEach(() => void received.splice(0));
afterAll(async () => {
  await cluster.stop();
  receiver.close();
});

async function told(count: number): Promise<readonly Received[]> {
  for (const endMs = Date.now() + 30_000; received.length < count; await new Promise((resolve) => setTimeout(resolve, 20)))
    if (Date.now() > endMs) throw new Error(`${received.length} of ${count} came`);
  return received;
}

test("the end of a batch is told, signed so that the official client takes it, and only so", async () => {
  const { id } = await createBatch(client, [chatLine("a", "1")]);
  const batch = await batchUntil(client, id, hasEnded);
  const [{ headers, body }] = (await told(1)) as [Received];
  const event = await client.webhooks.unwrap(body, headers as Record<string, string>);
  expect(event).toMatchObject({ object: "event", type: "batch.completed", created_at: batch.completed_at, data: { id } });
  expect(headers["webhook-id"]).toBe(event.id);
  await expect(client.webhooks.unwrap(body.replace("completed", "cancelled"), headers as Record<string, string>)).rejects.toThrow();
});

test("one that was not taken is told again under the same id, later, until it is", async () => {
  answers.push(500, 302);
  const { id } = await createBatch(client, ["{"]);
  await batchUntil(client, id, hasEnded);
  const [first] = (await told(1)) as [Received];
  const document = async () => (await cluster.cluster.bus.documents.get("batch", "default", id))!;
  for (let tries = 1; tries < 3; tries++) {
    await told(tries);
    const { text, place } = await document();
    const batch = JSON.parse(text) as { webhook: { tries: number; nextAt: number } };
    expect(batch.webhook.tries).toBe(tries);
    expect(batch.webhook.nextAt).toBeGreaterThan(Date.now() / 1_000 + 4);
    const due = { ...batch, webhook: { ...batch.webhook, nextAt: 0 } };
    expect(await cluster.cluster.bus.documents.put("batch", "default", id, JSON.stringify(due), place)).not.toBeNull();
  }
  const all = await told(3);
  expect(new Set(all.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
  expect(JSON.parse(first.body)).toMatchObject({ type: "batch.failed", data: { id } });
  await vi.waitFor(async () => expect(JSON.parse((await document()).text)).toMatchObject({ webhook: null }), { timeout: 20_000 });
});

test("the ends of background responses and of jobs are told as the client knows them; what has readers is not", async () => {
  const asked = { model: "yardlog", max_tokens: 4, messages: [{ role: "user" as const, content: "hello" }] };
  await client.chat.completions.create(asked);
  const response = await client.responses.create({ model: "yardlog", input: "hello", max_output_tokens: 16, background: true });
  const [{ headers, body }] = (await told(1)) as [Received];
  const event = await client.webhooks.unwrap(body, headers as Record<string, string>);
  expect(event).toMatchObject({ object: "event", data: { id: response.id } });
  expect(event.type).toBe(`response.${(await client.responses.retrieve(response.id)).status}`);

  const job = await client.post<{ id: string }>("/jobs", { body: { kind: "chat", request: asked } });
  await told(2);
  expect(JSON.parse(received[1]!.body)).toMatchObject({ object: "event", type: "job.finished", data: { id: job.id } });
  expect(received[1]!.headers["webhook-id"]).not.toBe(event.id);
});

test("of a job whose teller died before it could say so, the end is told again under the same id, by whoever comes next", async () => {
  const { bus } = cluster.cluster;
  const job = await client.post<{ id: string }>("/jobs", {
    body: { kind: "completion", request: { model: "yardlog", prompt: "a", max_tokens: 1 } },
  });
  await told(1);
  const toldNow = async () => {
    for (const endMs = Date.now() + 10_000; Date.now() < endMs; await new Promise((resolve) => setTimeout(resolve, 20))) {
      const document = (await bus.documents.get("event", "default", job.id))!;
      if ((JSON.parse(document.text) as { webhook: unknown }).webhook === null) return document;
    }
    throw new Error("it is still to be told");
  };
  const { text, place } = await toldNow();
  const died = { ...(JSON.parse(text) as object), webhook: { tries: 1, nextAt: 0 } }; // as it stands between the try and its success, once that is due
  expect(await bus.documents.put("event", "default", job.id, JSON.stringify(died), place)).not.toBeNull();
  const [first, second] = (await told(2)) as [Received, Received];
  expect([second.body, second.headers["webhook-id"]]).toEqual([first.body, first.headers["webhook-id"]]);
  await toldNow();
  await client.delete(`/jobs/${job.id}`);
  expect(await bus.documents.get("event", "default", job.id)).toBeNull();
});
