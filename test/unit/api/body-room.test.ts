import { createHash } from "node:crypto";
import { subscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import http2 from "node:http2";
import { connect, type Socket } from "node:net";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { BodyRoom } from "../../../services/api/http/body-room.ts";
import { type TestApi, testApi } from "../../support/api.ts";

const ROOM = 100_000;
const BODY = 60_000;
let api: TestApi;
beforeAll(async () => {
  api = await testApi({ bodyMaxBytes: BODY, bodiesMaxBytes: ROOM, grpcPort: 0, graceMs: 0 });
});
afterAll(() => api.close());

const held = async (from = api) =>
  Number((await (await fetch(`${from.url}/metrics`)).text()).match(/^longshore_api_body_bytes (\d+)/m)![1]);
const until = (bytes: number, from = api) => expect.poll(() => held(from), { timeout: 20_000 }).toBe(bytes);

const head = (path: string, length: string) => `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${length}\r\n\r\n`;
const announced = (bytes: number, path = "/v1/chat/completions") => head(path, `content-length: ${bytes}`);
const inChunks = (path = "/v1/chat/completions") => head(path, "transfer-encoding: chunked");
const chunk = (bytes: number) => `${bytes.toString(16)}\r\n${"x".repeat(bytes)}\r\n`;

function begin(text: string, from = api): Socket {
  const socket = connect(Number(new URL(from.url).port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(text);
  return socket;
}
const answer = async (socket: Socket) => String((await once(socket, "data"))[0]);

const ask = (path: string, bytes: number, from = api) =>
  fetch(from.url + path, { method: "POST", headers: { "content-type": "application/json" }, body: `{"x":"${"x".repeat(bytes - 8)}"}` });

function sessionWith({ grpc }: TestApi): http2.ClientHttp2Session {
  const session = http2.connect(`http://${grpc}`);
  session.on("error", () => {});
  return session;
}
const submit = { ":method": "POST", ":path": "/longshore.v1.Jobs/Submit", "content-type": "application/grpc", te: "trailers" };
const message = (length: number, bytes: number) => {
  const begun = Buffer.alloc(5 + bytes);
  begun.writeUInt32BE(length, 1);
  return begun;
};

test("bodies are let in while there is room for all of each, and refused in the words of their surface", async () => {
  const first = begin(announced(BODY));
  await until(BODY);
  for (const [path, status, type] of [
    ["/v1/chat/completions", 429, "rate_limit_error"],
    ["/v1/responses", 429, "rate_limit_error"],
    ["/v1/messages", 529, "overloaded_error"],
  ] as const) {
    const refused = await ask(path, 50_000);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([status, "5"]);
    expect(await refused.json()).toMatchObject({ error: { type, message: expect.stringContaining("memory for request bodies is full") } });
  }
  expect((await ask("/v1/chat/completions", 40_000)).status, "there is room for it").toBe(400);
  expect((await ask("/v1/chat/completions", 70_000)).status, "nobody takes it, room or not").toBe(413);
  const file = new FormData();
  file.append("file", new Blob(["x".repeat(50_000)]));
  expect((await fetch(`${api.url}/v1/files`, { method: "POST", body: file })).status, "so does an upload").toBe(429);
  await until(BODY);
  first.destroy();
  await until(0);
});

test("a body of unknown length takes room as it arrives; one that finds none is told so", async () => {
  const first = begin(inChunks() + chunk(50_000));
  await until(50_000);
  const second = begin(inChunks("/v1/messages") + chunk(40_000));
  await until(90_000);
  second.write(chunk(15_000));
  expect(await answer(second)).toMatch(/^HTTP\/1.1 529 .*\r\nretry-after: 5\r\n.*"overloaded_error"/s);
  await until(50_000);
  first.write(`${chunk(2)}0\r\n\r\n`);
  expect(await answer(first)).toMatch(/^HTTP\/1.1 400 .*is not valid JSON/s);
  await until(0);
});

test.each([
  ["its client goes", (socket: Socket) => socket.destroy()],
  ["it is no JSON", (socket: Socket) => socket.write("x".repeat(500))],
  ["it is too long", (socket: Socket) => socket.write(chunk(70_000)), inChunks() + chunk(500)],
  ["its chunks are none", (socket: Socket) => socket.write("zzz\r\n"), inChunks() + chunk(500)],
])("the room of a body is free again when %s", async (_, end, text = announced(1_000) + "x".repeat(500)) => {
  const socket = begin(text);
  await until(text.includes("chunked") ? 500 : 1_000);
  end(socket);
  await until(0);
});

test("the room of a body that stops on its way is free again once it is given up", async () => {
  const own = await testApi({ bodiesMaxBytes: ROOM, bodyMaxBytes: BODY }); // its timers are lost
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const socket = begin(`${announced(1_000)}{`, own);
  socket.resume();
  while (!socket.closed) {
    vi.advanceTimersByTime(60_000);
    await new Promise(setImmediate);
  }
  vi.useRealTimers();
  await until(0, own);
  await own.close();
});

test("whoever has no key takes no room, nor does what no route takes", async () => {
  const guarded = await testApi({ bodiesMaxBytes: ROOM, bodyMaxBytes: BODY, grpcPort: 0, requireKeys: true });
  const asked = [begin(announced(BODY), guarded), begin(announced(BODY, "/nothing"), guarded)];
  expect((await Promise.all(asked.map(answer))).map((said) => said.split(" ")[1])).toEqual(["401", "404"]);
  const get = begin(`GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: ${BODY}\r\n\r\n`, guarded);
  expect(await answer(get)).toMatch(/^HTTP\/1.1 200 /);
  const session = sessionWith(guarded);
  const stream = session.request(submit);
  stream.on("error", () => {});
  stream.write(message(50_000, 49_000));
  expect((await once(stream, "response"))[0]).toMatchObject({ "grpc-status": String(grpc.status.UNAUTHENTICATED) });
  stream.resume();
  await once(stream, "close"); // it need not send the rest
  expect(await held(guarded)).toBe(0);
  for (const socket of [...asked, get]) socket.destroy();
  session.destroy();
  await guarded.close();
});

const chat = (content: string) => JSON.stringify({ model: "yardlog", messages: [{ role: "user", content }] });

test("what is in the record takes no room while its answer is waited for, nor do requests that stand in line behind it", async () => {
  const body = chat("x".repeat(20_000));
  const request = announced(body.length) + body;
  const waiting = begin(request);
  await expect.poll(async () => (await api.bus.queue.messages("prefill")).length, { timeout: 20_000 }).toBe(1);
  await until(0);
  const inLine = new Promise<void>((seen) => subscribe("http.server.request.start", () => seen()));
  waiting.write(announced(10_000));
  await inLine;
  expect(await held()).toBe(0);
  waiting.destroy();
});

test("messages of gRPC take of the same room as they arrive", async () => {
  const session = sessionWith(api);
  const first = session.request(submit);
  first.write(message(50_000, 49_000));
  await until(49_005);
  const second = session.request(submit);
  second.write(message(55_000, 54_000));
  const [refused] = (await once(second, "response")) as [http2.IncomingHttpHeaders];
  expect(refused).toMatchObject({ "grpc-status": String(grpc.status.RESOURCE_EXHAUSTED), "retry-after": "5" });
  await until(49_005);
  first.close(http2.constants.NGHTTP2_CANCEL);
  await until(0);
  const third = session.request(submit);
  third.end(message(1_000, 1_000)); // no message of ours
  await once(third, "response");
  await until(0);
  session.destroy();
});

test("a tenant fills half of the room at most, or one whole body, and shuts out nobody else", async () => {
  const digest = (key: string) => createHash("sha256").update(key).digest("hex");
  const own = await testApi({ bodyMaxBytes: BODY, bodiesMaxBytes: 200_000, grpcPort: 0, apiKeys: `${digest("a")},${digest("b")}` });
  const bodyOf = (key: string, bytes: number) => begin(announced(bytes).replace("host: x", `host: x\r\nx-api-key: ${key}`), own);
  const open = [bodyOf("a", BODY)];
  await until(BODY, own);
  expect(await answer(bodyOf("a", 40_001))).toMatch(/^HTTP\/1.1 429 .*your other requests/s);
  const session = sessionWith(own);
  const stream = session.request({ ...submit, "x-api-key": "a" });
  stream.write(message(50_000, 40_001));
  expect((await once(stream, "response"))[0]).toMatchObject({ "grpc-status": String(grpc.status.RESOURCE_EXHAUSTED), "retry-after": "5" });
  await until(BODY, own);
  open.push(bodyOf("a", 40_000), bodyOf("b", BODY), bodyOf("b", 40_000));
  await until(200_000, own);
  for (const socket of open.slice(0, 2)) socket.destroy();
  await until(100_000, own);
  open.push(bodyOf("a", BODY)); // what was given back is its own again
  await until(100_000 + BODY, own);
  for (const socket of open) socket.destroy();
  session.destroy();
  await until(0, own);
  await own.close();
});

test("a tenant's largest body finds room where that is more than half, and no other beside it", () => {
  const room = new BodyRoom({ bodiesMaxBytes: ROOM, bodyMaxBytes: BODY });
  const caller = { tenant: "t", key: null };
  room.share(caller).arrive(BODY);
  expect(room.bytes).toBe(BODY);
  expect(() => room.share(caller).arrive(1)).toThrow("your other requests");
});

test("who announces much and sends nothing keeps little from others; what arrives takes room until there is none", async () => {
  const own = await testApi({ bodyMaxBytes: 1_000_000, bodiesMaxBytes: 2_000_000 });
  const idle = Array.from({ length: 8 }, () => begin(announced(1_000_000), own));
  await until(8 * 65_536, own);
  expect((await ask("/v1/chat/completions", 1_000_000, own)).status, "there is room for it").toBe(400);
  const half = "x".repeat(500_000);
  for (const [i, socket] of idle.slice(0, 3).entries()) {
    socket.write(half);
    await until(500_000 * (i + 1) + 65_536 * (7 - i), own);
  }
  const refused = begin(announced(1_000_000), own);
  expect(await answer(refused), "not all of it").toMatch(/^HTTP\/1.1 429 .*memory for request bodies is full/s);
  idle[3]!.write(half);
  expect(await answer(idle[3]!), "not what came of it").toMatch(/^HTTP\/1.1 429 .*retry-after: 5\r\n.*memory for request bodies is full/s);
  await until(1_500_000 + 65_536 * 4, own);
  idle[1]!.destroy();
  await until(1_000_000 + 65_536 * 4, own);
  idle[0]!.write(half);
  expect(await answer(idle[0]!), "whole").toMatch(/^HTTP\/1.1 400 .*is not valid JSON/s);
  await until(500_000 + 65_536 * 4, own);
  for (const socket of [...idle, refused]) socket.destroy();
  await until(0, own);
  await own.close();
});

test("an upload takes room as it arrives, up to what is held of it at a time", async () => {
  const own = await testApi({ bodiesMaxBytes: 3_000_000, bodyMaxBytes: BODY });
  const begun = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 8000000\r\n\r\n";
  const file = '--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n';
  const idle = [begin(begun, own), begin(begun, own)];
  await until(2 * 65_536, own);
  idle[0]!.write(`${file}${"x".repeat(1_000_000)}`);
  await expect.poll(() => held(own), { timeout: 20_000 }).toBeGreaterThan(1_000_000);
  idle[0]!.write("x".repeat(4_000_000));
  await until(2_097_152 + 65_536, own);
  idle[1]!.write(`${file}${"x".repeat(2_000_000)}`);
  expect(await answer(idle[1]!)).toMatch(/^HTTP\/1.1 429 .*memory for request bodies is full/s);
  for (const socket of idle) socket.destroy();
  await until(0, own);
  await own.close();
});

/** All that is heard on it from now on. */
function hear(socket: Socket): () => string {
  let heard = "";
  socket.on("data", (bytes) => {
    heard += bytes;
  });
  return () => heard;
}

test("a body that nobody reads, or that found the room full in its middle, keeps no request behind it waiting", async () => {
  const own = await testApi({ bodiesMaxBytes: 400_000, bodyMaxBytes: 300_000 });
  const next = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
  const unread = begin(announced(300_000).replace("application/json", "text/plain"), own);
  const heard = hear(unread);
  unread.write("x".repeat(300_000) + next);
  await expect.poll(heard, { timeout: 20_000 }).toMatch(/^HTTP\/1.1 400 .*HTTP\/1.1 200 /s);

  const refused = begin(announced(200_000), own);
  await until(65_536, own);
  const other = begin(announced(300_000) + "x".repeat(299_999), own);
  await until(365_535, own);
  const told = hear(refused);
  refused.write("x".repeat(150_000));
  await expect.poll(told, { timeout: 20_000 }).toMatch(/^HTTP\/1.1 429 /);
  refused.write("x".repeat(50_000) + next);
  await expect.poll(told, { timeout: 20_000 }).toMatch(/HTTP\/1.1 200 /);
  for (const socket of [unread, refused, other]) socket.destroy();
  await until(0, own);
  await own.close();
});

test("a message of gRPC that stops on its way is given up", async () => {
  const own = await testApi({ grpcPort: 0 }); // its timers are lost
  const session = sessionWith(own);
  await once(session, "remoteSettings");
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const stream = session.request(submit);
  stream.write(message(1_000, 500));
  let answered: http2.IncomingHttpHeaders | null = null;
  stream.on("response", (headers) => {
    answered = headers;
  });
  while (answered === null) {
    vi.advanceTimersByTime(60_000);
    await new Promise(setImmediate);
  }
  vi.useRealTimers();
  expect(answered).toMatchObject({ "grpc-status": String(grpc.status.DEADLINE_EXCEEDED), "retry-after": "1" });
  await until(0, own);
  session.destroy();
  await own.close();
});
