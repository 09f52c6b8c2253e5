import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type TestApi, testApi } from "../../support/api.ts";

const LIMIT = 2_000_000;
/** More than lies in the buffers of both ends of a connection: its client still sends when it is answered. */
const LARGE = 20_000_000;
const settings = { bodyMaxBytes: LIMIT, bodiesMaxBytes: 4_194_304, apiKeys: createHash("sha256").update("key").digest("hex") };
let api: TestApi;
beforeAll(async () => {
  api = await testApi(settings);
});
afterAll(() => api.close());

const write = (socket: Socket, bytes: number) =>
  new Promise<void>((resolve, reject) => socket.write(Buffer.alloc(bytes, "x"), (error) => (error ? reject(error) : resolve())));

const open = ({ url }: TestApi, path: string, headers: readonly string[]) => {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\n${headers.join("\r\n")}\r\n\r\n`);
  return socket;
};

const json = "content-type: application/json";
const text = "content-type: text/plain";
const multipart = "content-type: multipart/form-data; boundary=b";
const key = "x-api-key: key";
const known = `content-length: ${LARGE}`;

test.each([
  ["is too large", 413, "/v1/chat/completions", [json, key, known]],
  ["is too large, as its end shows", 413, "/v1/chat/completions", [json, key, "transfer-encoding: chunked"]],
  ["is of another type", 400, "/v1/chat/completions", [text, key, known]],
  ["comes without a key", 401, "/v1/chat/completions", [json, known]],
  ["goes nowhere", 404, "/v1/nothing", [json, key, known]],
  ["is no upload", 400, "/v1/files", [multipart, key, known]],
])(
  "who sends all before it reads hears why it is refused, where it asks for the end of the connection, too: a body that %s",
  async (_, status, path, headers) => {
    for (const connection of ["keep-alive", "close"]) {
      const socket = open(api, path, [...headers, `connection: ${connection}`]);
      const chunked = headers.includes("transfer-encoding: chunked");
      if (chunked) socket.write(`${LARGE.toString(16)}\r\n`);
      await write(socket, LARGE);
      if (chunked) socket.write("\r\n0\r\n\r\n");
      expect(String((await once(socket, "data"))[0])).toMatch(new RegExp(`^HTTP/1.1 ${status} .*"message":`, "s"));
      if (connection === "close") await once(socket.resume(), "close");
      else socket.destroy();
    }
  },
);

test("the official client is told the limit of a body, and the setting that raises it", async () => {
  const client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "key", maxRetries: 0 });
  const asked = client.chat.completions.create({ model: "yardlog", messages: [{ role: "user", content: "x".repeat(LARGE) }] });
  await expect(asked).rejects.toMatchObject({
    status: 413,
    code: "request_too_large",
    message: expect.stringMatching(/2000000 bytes.*LONGSHORE_BODY_MAX_BYTES/),
  });
});

test("what is sent behind a refusal is read for a minute at most, and up to 256 MiB", async () => {
  const own = await testApi({ ...settings, heartbeatMs: 600_000 }); // its timers are lost
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const refused = async () => {
    const socket = open(own, "/v1/chat/completions", [json, "content-length: 1000000000"]);
    expect(String((await once(socket, "data"))[0])).toMatch(/^HTTP\/1.1 401 /);
    return { socket: socket.resume(), closed: new Promise((resolve) => socket.on("close", resolve)) };
  };
  const slow = await refused();
  vi.advanceTimersByTime(59_000);
  const fast = await refused();
  for (let sent = 0; sent < 300_000_000; sent += LARGE) await write(fast.socket, LARGE);
  expect([slow.socket.closed, fast.socket.closed]).toEqual([false, false]);
  vi.advanceTimersByTime(1_000);
  vi.useRealTimers();
  await Promise.all([slow.closed, fast.closed]);
  await own.close();
}, 60_000); // Node closes what is idle for 72 s
