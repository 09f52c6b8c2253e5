import { once } from "node:events";
import { IncomingMessage, ServerResponse } from "node:http";
import { connect, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type EventStream, openEventStream, whenLeft } from "../../../services/api/http/sse.ts";
import { playJob, playText, type TestApi, testApi } from "../../support/api.ts";

const BUFFER_BYTES = 65_536;
let app: FastifyInstance;
let port: number;
let opened: Promise<EventStream>;

beforeEach(async () => {
  app = fastify({ forceCloseConnections: true });
  opened = new Promise((resolve) => {
    app.get<{ Params: { ms: string } }>("/:ms", ({ params }, reply) => {
      reply.header("x-request-id", "req_1");
      resolve(openEventStream(reply, { heartbeatMs: Number(params.ms), streamBufferBytes: BUFFER_BYTES }));
    });
  });
  port = Number(new URL(await app.listen({ port: 0, host: "127.0.0.1" })).port);
});
afterEach(() => app.close());

/** Opens a stream. Whoever is to stay in it is not cut off for three short heartbeats in which this process stood still. */
function read(heartbeatMs = 60_000) {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(`GET /${heartbeatMs} HTTP/1.1\r\nhost: longshore\r\n\r\n`);
  return socket;
}

test("events carry name, id and data behind the reply's own headers; silence is filled with comments", async () => {
  const socket = read(50);
  let text = "";
  socket.on("data", (bytes) => (text += String(bytes)));
  const stream = await opened;
  stream.send({ name: "tokens", id: "job:7", data: "{}" });
  while (!text.includes(": waiting\n\n")) await once(socket, "data");
  expect(text).toContain("event: tokens\nid: job:7\ndata: {}\n\n");
  expect(text).toMatch(/x-request-id: req_1\r\n/);
  expect(text).toMatch(/openai-processing-ms: \d+\r\n/);
  socket.destroy();
  if (!stream.gone.aborted) await once(stream.gone, "abort");
  stream.send({ data: "late" }); // harmless
});

test("a reader who does not read is cut off, and what he did not read stays bounded", async () => {
  const socket = read();
  socket.pause();
  const stream = await opened;
  const event = { data: "x".repeat(10_000) };
  let sent = 0;
  while (!stream.gone.aborted) {
    stream.send(event);
    sent += event.data.length;
    expect(sent, "bytes a silent reader was sent").toBeLessThan(64 * 1024 * 1024);
    await new Promise(setImmediate);
  }
  socket.resume();
  await once(socket, "close");
});

test("a reader who is waited for gets everything at his own pace, however much more than the buffer it is", async () => {
  const socket = read();
  const stream = await opened;
  const sent = 64 * BUFFER_BYTES;
  let taken = 0;
  const whole = new Promise<void>((resolve) => {
    socket.on("data", (bytes) => {
      taken += bytes.length;
      if (bytes.subarray(-5).toString() === "0\r\n\r\n") resolve();
      socket.pause();
      setImmediate(() => socket.resume());
    });
  });
  for (let event = 0; event < 64; event++) {
    stream.send({ data: "x".repeat(BUFFER_BYTES - 1_024) });
    await stream.room();
  }
  stream.end();
  await whole;
  expect(taken).toBeGreaterThan(0.98 * sent);
});

test("a reader who is waited for and takes nothing is cut off after three heartbeats", async () => {
  const socket = read(50);
  socket.pause();
  const stream = await opened;
  while (!stream.gone.aborted) {
    stream.send({ data: "x".repeat(BUFFER_BYTES / 2) });
    await stream.room();
  }
  expect(stream.gone.reason).toMatchObject({ message: "the reader is too slow" });
  socket.resume();
  await once(socket, "close");
});

test("a heartbeat cuts off nobody who has something to read yet", async () => {
  const socket = read(50);
  socket.pause();
  const stream = await opened;
  stream.send({ data: "x".repeat(16 * 1024 * 1024) });
  await sleep(120); // two heartbeats
  expect(stream.gone.aborted).toBe(false);
  socket.destroy();
});

test("an answer that has ended and that its reader does not take is let go", async () => {
  const socket = read(50);
  socket.pause();
  const stream = await opened;
  stream.send({ data: "x".repeat(64 * 1024 * 1024) });
  stream.end();
  if (!stream.gone.aborted) await once(stream.gone, "abort");
  expect(stream.gone.reason).toMatchObject({ message: "the reader is too slow" });
  socket.destroy();
});

test("an event that is larger than all that is held for a reader is taken like any other", async () => {
  const api = await testApi({ streamBufferBytes: 262_144 });
  try {
    const response = await fetch(`${api.url}/v1/responses`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "yardlog", instructions: "fox ".repeat(250_000), input: "Where?", stream: true }),
    });
    await playText(api, "Here.");
    const text = await response.text();
    expect(text.match(/^event: response\.(created|in_progress|completed)$/gm)).toHaveLength(3); // each with the instructions
  } finally {
    await api.close();
  }
});

test("a long answer that has ended is read whole, though it lies in the log faster than anybody reads", async () => {
  const api = await testApi({ streamBufferBytes: 262_144 });
  try {
    const { id } = await askedJob(api);
    const [word] = await api.tokenizer.encode(" fox");
    await playJob(api.bus, "yardlog", { ids: Array<number>(2_000).fill(word!) });
    for (const path of ["stream", "events"]) {
      const text = await (await fetch(`${api.url}/v1/jobs/${id}/${path}`)).text();
      expect(text.length).toBeGreaterThan(262_144);
      expect(text).toMatch(path === "stream" ? /\[DONE\]\n\n$/ : /event: finished\n.*\n.*\n\n$/);
    }
  } finally {
    await api.close();
  }
});

test("a stream that is asked for without a body lives on when bodies would have had to be there", async () => {
  const api = await testApi();
  const { id } = await askedJob(api);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const response = await fetch(`${api.url}/v1/jobs/${id}/events`);
  vi.advanceTimersByTime(60_000);
  vi.useRealTimers();
  const text = response.text();
  await fetch(`${api.url}/v1/jobs/${id}/cancel`, { method: "POST" });
  expect(await text).toMatch(/event: submitted\n.*event: cancelled\n/s);
  await api.close();
});

test("whoever asks for the headers of a stream gets them at once, and no more: the connection is free for the next request", async () => {
  const api = await testApi();
  const job = await askedJob(api);
  const response = await posted(api, "/v1/responses", { model: "yardlog", input: "Where?", background: true });
  for (const path of [`/v1/jobs/${job.id}/events`, `/v1/jobs/${job.id}/stream`, `/v1/responses/${response.id}?stream=true`]) {
    const socket = connect(Number(new URL(api.url).port), "127.0.0.1");
    socket.write(`HEAD ${path} HTTP/1.1\r\nhost: x\r\n\r\nGET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    let said = "";
    for await (const bytes of socket) said += String(bytes);
    const [head, next] = said.split("\r\n\r\n", 2);
    expect(head).toMatch(/^HTTP\/1.1 200 .*content-type: text\/event-stream/s);
    expect(next).toMatch(/^HTTP\/1.1 200 /);
  }
  expect((await fetch(`${api.url}/v1/jobs/job_00000000000000000000/events`, { method: "HEAD" })).status).toBe(404);
  await api.close();
});

async function posted(api: TestApi, path: string, body: object): Promise<{ readonly id: string }> {
  const headers = { "content-type": "application/json" };
  return (await fetch(api.url + path, { method: "POST", headers, body: JSON.stringify(body) })).json() as never;
}
const askedJob = (api: TestApi) => posted(api, "/v1/jobs", { kind: "completion", request: { model: "yardlog", prompt: "Where?" } });

test("who left before anybody listened has left", async () => {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  response.destroy();
  let left = 0;
  whenLeft(response, () => left++);
  expect(left).toBe(1);
});
