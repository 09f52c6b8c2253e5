import { once } from "node:events";
import { connect } from "node:net";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type EventStream, openEventStream } from "../../../services/api/sse.ts";

const BUFFER_BYTES = 65_536;
let app: FastifyInstance;
let port: number;
let opened: Promise<EventStream>;

beforeEach(async () => {
  app = fastify({ forceCloseConnections: true });
  opened = new Promise((resolve) => {
    app.get("/", (_, reply) => {
      reply.header("x-request-id", "req_1");
      resolve(openEventStream(reply, { heartbeatMs: 50, streamBufferBytes: BUFFER_BYTES }));
    });
  });
  port = Number(new URL(await app.listen({ port: 0, host: "127.0.0.1" })).port);
});
afterEach(() => app.close());

function read() {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nhost: longshore\r\n\r\n");
  return socket;
}

test("events carry name, id and data behind the reply's own headers; silence is filled with comments", async () => {
  const socket = read();
  let text = "";
  socket.on("data", (bytes) => (text += String(bytes)));
  const stream = await opened;
  expect(stream.send({ name: "tokens", id: "job:7", data: "{}" })).toBe(true);
  while (!text.includes(": waiting\n\n")) await once(socket, "data");
  expect(text).toContain("event: tokens\nid: job:7\ndata: {}\n\n");
  expect(text).toMatch(/x-request-id: req_1\r\n/);
  expect(text).toMatch(/openai-processing-ms: \d+\r\n/);
  socket.destroy();
  if (!stream.gone.aborted) await once(stream.gone, "abort");
  expect(stream.send({ data: "late" })).toBe(false);
});

test("a reader who does not read is cut off, and what he did not read stays bounded", async () => {
  const socket = read();
  socket.pause();
  const stream = await opened;
  const event = { data: "x".repeat(10_000) };
  let sent = 0;
  while (stream.send(event)) {
    sent += event.data.length;
    expect(sent, "bytes a silent reader was sent").toBeLessThan(64 * 1024 * 1024);
    await new Promise(setImmediate);
  }
  expect(stream.gone.aborted).toBe(true);
  socket.resume();
  await once(socket, "close");
});
