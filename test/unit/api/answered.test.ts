import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { playText, type TestApi, testApi } from "../../support/api.ts";
import { ask, call, closeClients, jobsAt, updatesOf } from "../../support/grpc.ts";

const KEY = "sk-counted";
let api: TestApi;
beforeAll(async () => {
  api = await testApi({ grpcPort: 0, graceMs: 0, bodyMaxBytes: 10_000, apiKeys: createHash("sha256").update(KEY).digest("hex") });
});
afterAll(async () => {
  closeClients();
  await api.close();
});

const bearer = { authorization: `Bearer ${KEY}` };
const post = (path: string, body: object, headers: Record<string, string> = bearer) =>
  fetch(api.url + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });

async function counted(): Promise<Record<string, number>> {
  const text = await (await fetch(`${api.url}/metrics`)).text();
  const lines = text.matchAll(/^longshore_api_answers_total\{route="(.*)",status="(.*)"\} (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, route, status, count]) => [`${route} ${status}`, Number(count)]));
}

/** What a client sends that then leaves: once it was answered, or at once. */
async function sent(text: string, atOnce = false): Promise<void> {
  const socket = connect(Number(new URL(api.url).port), "127.0.0.1");
  socket.write(text);
  if (atOnce) await once(socket, "connect");
  else await once(socket, "data");
  socket.end();
  await once(socket.resume(), "close");
}

test("every answer is counted once, by the route it came from and its status, whatever was asked for", async () => {
  const chat = { model: "yardlog", messages: [{ role: "user", content: "Where is red-fox?" }] };
  const whole = post("/v1/chat/completions", chat);
  await playText(api, "In bay 42.");
  await (await whole).text();
  const streamed = post("/v1/chat/completions", { ...chat, stream: true });
  await playText(api, "In bay 42.");
  await (await streamed).text();
  await post("/v1/chat/completions", { ...chat, model: "nobody" });
  await post("/v1/chat/completions", chat, {});
  await post("/v1/chat/completions", { ...chat, user: "x".repeat(20_000) });
  await fetch(`${api.url}/v1/jobs/job_unknown?x=1`, { headers: bearer });
  await fetch(`${api.url}/v1/%6Aobs/job_other`, { headers: bearer });
  for (const path of ["/wp-login.php", "/v1/nothing", "/%"]) await fetch(api.url + path, { headers: bearer });
  await fetch(`${api.url}/health`, { method: "HEAD" });
  await sent("nonsense\r\n\r\n");
  const cutOff = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n";
  await sent(`${cutOff}\r\n{`); // has no key, hears so, and leaves
  await sent(`${cutOff}authorization: ${bearer.authorization}\r\n\r\n{`, true);

  const client = jobsAt(api.grpc!);
  const metadata = new grpc.Metadata();
  metadata.set("authorization", bearer.authorization);
  const job = await call(client, "Submit", ask, metadata);
  await call(client, "Get", { id: job.id }, metadata);
  await expect(call(client, "Get", { id: "job_unknown" }, metadata)).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  await expect(call(client, "Get", { id: job.id })).rejects.toMatchObject({ code: grpc.status.UNAUTHENTICATED });

  await expect(call(client, "Submit", { ...ask, stop: ["x".repeat(20_000)] }, metadata)).rejects.toMatchObject({
    code: grpc.status.RESOURCE_EXHAUSTED,
  });
  const hurried = metadata.clone();
  hurried.set("grpc-timeout", "200m"); // the server's clock alone: a client with a deadline of its own may leave first, and hears no answer
  await expect(updatesOf(client.Watch!({ id: job.id }, hurried))).rejects.toMatchObject({ code: grpc.status.DEADLINE_EXCEEDED });

  const all = {
    "POST /v1/chat/completions 200": 2,
    "POST /v1/chat/completions 404": 1,
    "POST /v1/chat/completions 401": 2,
    "POST /v1/chat/completions 413": 1,
    "GET /v1/jobs/:id 404": 2,
    "none 404": 2,
    "none 400": 2,
    "HEAD /health 200": 1,
    "GET /metrics 200": expect.any(Number),
    "/longshore.v1.Jobs/Submit OK": 1,
    "/longshore.v1.Jobs/Get OK": 1,
    "/longshore.v1.Jobs/Get NOT_FOUND": 1,
    "/longshore.v1.Jobs/Get UNAUTHENTICATED": 1,
    "/longshore.v1.Jobs/Submit RESOURCE_EXHAUSTED": 1,
    "/longshore.v1.Jobs/Watch DEADLINE_EXCEEDED": 1,
  };
  await expect.poll(counted).toEqual(all);
  await fetch(`${api.url}/health`);
  await expect.poll(counted).toEqual({ ...all, "GET /health 200": 1 });
});
