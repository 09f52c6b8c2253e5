import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { IN_LINE_MAX } from "../../../services/api/http/connection.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import type { Config } from "../../../services/shared/runtime/config.ts";
import { playText, type TestApi, testApi } from "../../support/api.ts";
import { overriding } from "../../support/overriding.ts";

let api: TestApi;
let sockets: Socket[];
/** Paths of the requests that came, whether they are dealt with or stand in line. */
let came: string[];
const note = (message: unknown) => void came.push((message as { request: IncomingMessage }).request.url!);

beforeEach(() => {
  [sockets, came] = [[], []];
  subscribe("http.server.request.start", note);
});
afterEach(async () => {
  unsubscribe("http.server.request.start", note);
  for (const socket of sockets) socket.destroy();
  await api.close();
});
const open = async (settings: Partial<Config> = {}) => {
  api = await testApi({ graceMs: 0, ...settings });
};

/** A connection on which `text` is sent, and what is heard on it. */
function begin(text: string): { readonly socket: Socket; heard(): string; closed(): boolean } {
  const socket = connect(Number(new URL(api.url).port), "127.0.0.1");
  sockets.push(socket);
  let heard = "";
  socket.on("error", () => {});
  socket.on("data", (bytes) => {
    heard += bytes;
  });
  socket.write(text);
  return { socket, heard: () => heard, closed: () => socket.closed };
}
const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;
const head = (path: string, ...headers: string[]) => `POST ${path} HTTP/1.1\r\nhost: x\r\n${headers.join("\r\n")}\r\n\r\n`;
const chunkedGet = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n`;
const JSON_BODY = "content-type: application/json";
const ask = (content: string, stream = false) => {
  const body = JSON.stringify({ model: "yardlog", messages: [{ role: "user", content }], stream });
  return head("/v1/chat/completions", JSON_BODY, `content-length: ${body.length}`) + body;
};
/** The begin of one, with more than a part. */
const UPLOAD = `--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n${"x".repeat(1_200_000)}`;
const statuses = (heard: string) => [...heard.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status));
const soon = { timeout: 20_000 };
const inQueue = () => expect.poll(async () => (await api.bus.queue.messages("prefill")).length, soon).toBe(1);
const begun = (heard: () => string) => expect.poll(heard, soon).toMatch(/HTTP\/1.1 200 .*\n\r\n.*data: /s);
async function submitted(): Promise<{ readonly id: string }> {
  const body = JSON.stringify({ kind: "completion", request: { model: "yardlog", prompt: "Where?" } });
  return (await fetch(`${api.url}/v1/jobs`, { method: "POST", headers: { "content-type": "application/json" }, body })).json() as never;
}
/** How far all jobs are. */
const jobs = async () => {
  const { data } = (await (await fetch(`${api.url}/v1/jobs`)).json()) as { data: { id: string }[] };
  return Promise.all(data.map(async ({ id }) => (await api.bus.log.last(id))?.event.type));
};

test.each([false, true])(
  "who leaves takes along what is answered, and what stands in line was never begun (stream: %s)",
  async (stream) => {
    await open();
    const { socket } = begin(ask("First?", stream) + ask("Second?", stream));
    await inQueue();
    await expect.poll(() => came.length, soon).toBe(2);
    socket.destroy();
    await expect.poll(jobs, soon).toEqual(["cancelled"]);
  },
);

test("an answer that takes long is not cut off by the patience with the reader of the one before", async () => {
  await open({ heartbeatMs: 20 });
  const { heard, closed } = begin(get("/v1/models") + ask("First?"));
  await inQueue();
  await sleep(200); // ten heartbeats; three without a byte taken are the end of a reader
  expect(closed()).toBe(false);
  await playText(api, "Here.");
  await expect.poll(heard, soon).toContain('"content":"Here."');
});

test("of files that are asked for on one connection one is read at a time; who finds the line full is refused in his place", async () => {
  const bus = openBus({ url: "memory:" });
  let reads = 0;
  let readsMost = 0;
  const files = overriding(bus.files, {
    get: async (key: string) => {
      readsMost = Math.max(readsMost, ++reads);
      await new Promise(setImmediate);
      return bus.files.get(key).finally(() => reads--);
    },
  });
  api = await testApi({}, { ...bus, files });
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", new Blob(["x".repeat(100_000)]));
  const { id } = (await (await fetch(`${api.url}/v1/files`, { method: "POST", body: form })).json()) as { id: string };
  const { heard } = begin(get(`/v1/files/${id}/content`).repeat(IN_LINE_MAX + 11));
  await expect.poll(() => statuses(heard()).length, soon).toBe(IN_LINE_MAX + 11);
  expect(statuses(heard())).toEqual([...Array<number>(IN_LINE_MAX + 1).fill(200), ...Array<number>(10).fill(429)]);
  expect(heard().match(/x{100000}/g)).toHaveLength(IN_LINE_MAX + 1);
  expect(heard()).toMatch(/retry-after: 5\r\n.*"message":"10 requests wait on this connection already/s);
  expect(readsMost).toBe(1);
});

test("a body that stops on its way has its minute from its turn on, and is no end of the answer before it", async () => {
  await open();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const { heard, closed } = begin(`${ask("First?", true)}${head("/v1/chat/completions", JSON_BODY, "content-length: 9")}{`);
    await begun(heard);
    await expect.poll(() => came.length, soon).toBe(2);
    vi.advanceTimersByTime(61_000);
    await playText(api, "Here.");
    await expect.poll(heard, soon).toContain("data: [DONE]\n\n");
    expect(statuses(heard())).toEqual([200]);
    while (!closed()) {
      vi.advanceTimersByTime(60_000);
      await new Promise(setImmediate);
    }
    expect(statuses(heard())).toEqual([200, 408]);
  } finally {
    vi.useRealTimers();
  }
});

test.each([
  ["no request", "GARBAGE\r\n\r\n"],
  ["much that is none", "x".repeat(1_000_000)],
  ["a request whose body is none", `${head("/v1/chat/completions", JSON_BODY, "transfer-encoding: chunked")}zzz\r\n`],
])("what came before %s is answered to its end, and then the connection ends with a 400", async (_, bytes) => {
  await open();
  for (const stream of [true, false]) {
    const { socket, heard, closed } = begin(ask("First?", stream) + get("/health") + bytes);
    await inQueue();
    await expect.poll(() => came.length, soon).toBeGreaterThan(1);
    socket.write(bytes); // whatever it still sends
    await playText(api, "Here.");
    await expect.poll(closed, soon).toBe(true);
    expect(statuses(heard())).toEqual([200, 200, 400]);
    expect(heard()).toMatch(stream ? /data: \[DONE\]\n\n.*HTTP\/1.1 200 /s : /"content":"Here\.".*HTTP\/1.1 200 /s);
    expect(heard().split("\r\n\r\n").at(-1)).toContain("malformed HTTP request: ");
    came = [];
  }
});

test("who sends what is no request behind one, and leaves, leaves that one too", async () => {
  await open();
  const { socket } = begin(`${ask("First?")}GARBAGE\r\n\r\n`);
  await inQueue();
  socket.destroy();
  await expect.poll(jobs, soon).toEqual(["cancelled"]);
});

test("who stops amid the head of a request, and listens, hears that it is none", async () => {
  await open();
  const { socket, heard, closed } = begin("GET /health HT");
  socket.end();
  await expect.poll(closed, soon).toBe(true);
  expect(statuses(heard())).toEqual([400]);
});

test("into an answer that has begun nothing is written about the rest of its request", async () => {
  await open();
  const { id } = await submitted();
  const { socket, heard, closed } = begin(chunkedGet(`/v1/jobs/${id}/events`));
  await expect.poll(heard, soon).toContain("event: submitted");
  socket.write("zzz\r\n");
  await expect.poll(closed, soon).toBe(true);
  expect(statuses(heard())).toEqual([200]);
});

test("a request without a host is refused in our words, one that expects the unknown is answered like any other", async () => {
  await open();
  const { heard } = begin(
    "GET /v1/models HTTP/1.1\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\nexpect: 200-ok\r\n\r\nGET /v1/models HTTP/1.0\r\n\r\n",
  );
  await expect.poll(() => statuses(heard()), soon).toEqual([400, 200, 200]);
  expect(heard()).toMatch(/^HTTP\/1.1 400 .*x-request-id: req_.*"message":"HTTP\/1.1 requires a Host header".*"invalid_request"/s);
  expect(heard().match(/x-request-id: req_/g)).toHaveLength(3);
});

test("who leaves amid a body that nobody reads ends his connection, and nothing else", async () => {
  await open();
  const { id } = await submitted();
  const { socket, heard } = begin(chunkedGet(`/v1/jobs/${id}/events`));
  await expect.poll(heard, soon).toContain("event: submitted");
  socket.destroy(); // an error that nobody hears would end the process
  await expect.poll(async () => (await fetch(`${api.url}/health`)).status, soon).toBe(200);
});

test.each([
  ["an upload", head("/v1/files", "content-type: multipart/form-data; boundary=b", "content-length: 9000")],
  ["a body", head("/v1/chat/completions", JSON_BODY, "content-length: 9000")],
])("who leaves amid %s is no failure of ours", async (_, text) => {
  const lines: string[] = [];
  api = await testApi({}, undefined, undefined, pino({ level: "info" }, { write: (line) => void lines.push(line) }));
  const taken = async () => Number((await (await fetch(`${api.url}/metrics`)).text()).match(/^longshore_api_body_bytes (\d+)/m)![1]);
  const { socket } = begin(`${text}--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\nx`);
  await expect.poll(taken, soon).toBeGreaterThan(0);
  socket.destroy();
  await expect.poll(taken, soon).toBe(0);
  await once(begin(get("/health")).socket, "data");
  expect(lines).toEqual([]);
});

test.each([true, false])(
  "whoever stands in line when the replica stops is told that no more of it is begun (stream: %s)",
  async (stream) => {
    await open();
    const { heard, closed } = begin(ask("First?", stream) + get("/v1/models") + ask("Third?"));
    await inQueue();
    await expect.poll(() => came.length, soon).toBe(3);
    if (stream) await begun(heard);
    await api.close();
    await expect.poll(closed, soon).toBe(true);
    expect(statuses(heard())).toEqual(stream ? [200, 503] : [503]);
    expect(
      heard()
        .split(/(?=HTTP\/1.1 )/)
        .at(-1),
    ).toMatch(/connection: close\r\n.*"shutting_down"/is);
  },
);

test.each([
  ["a body of known length", head("/v1/chat/completions", JSON_BODY, "content-length: 9000000"), "{"],
  ["a body of unknown length", head("/v1/chat/completions", JSON_BODY, "transfer-encoding: chunked"), "1\r\n{\r\n"],
  ["an upload", head("/v1/files", "content-type: multipart/form-data; boundary=b", "content-length: 9000000"), UPLOAD],
])("who is amid %s when the replica stops hears it before his connection is cut, and nothing of it is kept", async (_, text, begins) => {
  await open();
  const parts = vi.spyOn(api.bus.files, "put");
  const { socket, heard, closed } = begin(text + begins);
  await expect.poll(() => came.length, soon).toBe(1);
  if (begins === UPLOAD) await expect.poll(() => parts.mock.calls.length, soon).toBe(1);
  const sending = setInterval(() => socket.write("x".repeat(100_000)), 10); // he does not listen yet
  const over = new Promise<void>((resolve) => socket.once("end", resolve));
  const stopped = api.close();
  await over;
  clearInterval(sending);
  await stopped;
  await expect.poll(closed, soon).toBe(true);
  expect(heard()).toMatch(/^HTTP\/1.1 503 .*retry-after: 1\r\n.*connection: close\r\n\r\n.*"shutting_down"/s);
  expect(await Promise.all(parts.mock.calls.map(([key]) => api.bus.files.get(key)))).toEqual(parts.mock.calls.map(() => null));
});
