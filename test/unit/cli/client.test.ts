import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { type OnAway, sayingAway } from "../../../services/cli/absence.ts";
import { openClient } from "../../../services/cli/client.ts";
import { jobAnswer } from "../../../services/cli/job-answer.ts";
import { jobEvents } from "../../../services/cli/job-events.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { packageRoot } from "../../../services/shared/runtime/package-root.ts";
import { against } from "../../support/against.ts";

setFlagsFromString("--expose_gc");
const collectGarbage = runInNewContext("gc") as () => void;
const bufferBytes = () => {
  collectGarbage();
  collectGarbage(); // what the first one found is given back by now
  return process.memoryUsage().arrayBuffers;
};

const collect = async (url: string, following: Parameters<typeof jobEvents>[2] = { awayMaxMs: 0 }) => {
  const names: string[] = [];
  for await (const { name, done } of jobEvents(openClient(url, undefined), "job_1", following)) names.push(`${name} ${done ?? ""}`.trim());
  return names;
};

test("events of a job come one by one, comments and cuts between chunks do not matter", async () => {
  const names = await against(
    (_, response) => {
      response.write("event: claimed\ndata: {}\n\n: waiting\n\nevent: prog");
      setImmediate(() => response.end('ress\nid: job_1:3\ndata: {"done": 5}\n\n'));
    },
    (url) => collect(url),
  );
  expect(names).toEqual(["claimed", "progress 5"]);
});

test("what the server says in band, a broken connection and a refusal each reach the user in words", async () => {
  const inBand = against(
    (_, response) => response.end('event: error\ndata: {"error":{"message":"shutting down","code":"shutting_down"}}\n\n'),
    (url) => collect(url),
  );
  await expect(inBand).rejects.toMatchObject({ code: "UNAVAILABLE", message: "job_1: shutting down" });
  const broken = against(
    (_, response) => {
      response.write("event: claimed\ndata: {}\n\n");
      setImmediate(() => response.destroy());
    },
    (url) => collect(url),
  );
  await expect(broken).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("jobs go on") });
  const refused = against(
    (_, response) => response.writeHead(503).end('{"error":{"message":"no record"}}'),
    (url) => collect(url),
  );
  await expect(refused).rejects.toMatchObject({ code: "UNAVAILABLE", message: "no record" });
});

test("events go on behind the last one where a replica stops, breaks off or is away, which is said; what will not pass ends them", async () => {
  const asked: string[] = [];
  const said: string[] = [];
  const event = (name: string, sequence: number) => `event: ${name}\nid: job_1:${sequence}\ndata: {"done":${sequence}}\n\n`;
  const answers: RequestListener[] = [
    (_, response) => response.end(`${event("claimed", 2)}event: error\ndata: {"error":{"message":"m","code":"shutting_down"}}\n\n`),
    (_, response) => response.writeHead(503).end('{"error":{"message":"no record"}}'),
    (_, response) => {
      response.write(event("progress", 5));
      setImmediate(() => response.destroy());
    },
    (_, response) => response.end(event("finished", 9)),
    (_, response) => response.end('event: error\ndata: {"error":{"message":"cannot be read","code":"damaged"}}\n\n'),
  ];
  await against(
    (request, response) => {
      asked.push(request.url!);
      answers[asked.length - 1]!(request, response);
    },
    async (url) => {
      const onAway = sayingAway("API", (text) => said.push(text));
      expect(await collect(url, { onAway })).toEqual(["claimed 2", "progress 5", "finished 9"]);
      await expect(collect(url, {})).rejects.toMatchObject({ code: "INTERNAL", message: "job_1: cannot be read" });
    },
  );
  expect(asked.map((url) => url.replace("/v1/jobs/job_1/events?after=", ""))).toEqual(["0", "2", "2", "5", "0"]);
  expect(said).toEqual(["no answer from API, trying again", "API answers again", "no answer from API, trying again", "API answers again"]);
});

test("a replica that takes a request for events and says nothing is asked again, and given up in time", async () => {
  let asked = 0;
  const silent: RequestListener = (_, response) => {
    if (++asked === 2) response.write("event: claimed\ndata: {}\n\n: it lives\n\n"); // and nothing behind it
  };
  const collected = against(silent, (url) => collect(url, { silentMs: 100, awayMaxMs: 1_500 }));
  await expect(collected).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(asked).toBeGreaterThanOrEqual(3);
});

test("an API whose streams say only that they are there, and break off, is not given up: the job waits", async () => {
  const said: string[] = [];
  let asked = 0;
  let heard = () => {};
  const proxied: RequestListener = (_, response) => {
    if (++asked === 4) return response.end("event: finished\ndata: {}\n\n");
    heard = () => response.destroy();
    return response.write(": waiting\n\n");
  };
  const saying = sayingAway("API", (text) => said.push(text));
  const onAway: OnAway = (why) => {
    saying(why);
    if (why === null) heard();
  };
  expect(await against(proxied, (url) => collect(url, { onAway, awayMaxMs: 1_500 }))).toEqual(["finished"]);
  expect(said).toEqual([1, 2, 3].flatMap(() => ["no answer from API, trying again", "API answers again"]));
});

const call = { content: null, tool_calls: [{ id: "call_1" }] };

test.each([
  ["a text", { choices: [{ message: { content: "red" } }] }, "red"],
  ["an empty text", { choices: [{ message: { content: "" } }] }, ""],
  ["what goes on from a prompt", { choices: [{ text: "blue" }] }, "blue"],
  ["calls of tools, as JSON", { choices: [{ message: call }] }, JSON.stringify(call, null, 2)],
  ["another surface's answer, as JSON", { output: [] }, '{\n  "output": []\n}'],
])("a job's answer is %s", async (_, result, text) => {
  const job = { prompt_tokens: 9, output_tokens: 3, cache: { matched_tokens: 4 }, result, error: null };
  const answer = await against(
    (_, response) => response.end(JSON.stringify(job)),
    (url) => jobAnswer(openClient(url, undefined), "job_1"),
  );
  expect(answer).toEqual({ text, promptTokens: 9, cachedTokens: 4, answerTokens: 3 });
});

test("of a job that ended without an answer the text that came is told, and then why", async () => {
  const heard: string[] = [];
  const job = { result: null, partial: { content: "In bay" }, error: { message: "the job was cancelled" } };
  const asked = against(
    (_, response) => response.end(JSON.stringify(job)),
    (url) => jobAnswer(openClient(url, undefined), "job_1", (text) => heard.push(text)),
  );
  await expect(asked).rejects.toThrow("job_1: the job was cancelled");
  expect(heard).toEqual(["In bay"]);
});

test.each(["localhost:8000", "ftp://host", "host", ""])("%j is no URL of an API, and that is said before anything is asked", (url) => {
  expect(() => openClient(url, undefined)).toThrow("--url takes one like http://127.0.0.1:8000");
});

test("a key that no header can hold, and a URL with a password, are refused before anything is asked, and not repeated", () => {
  const refused = (url: string, key?: string) => expect(() => openClient(url, key));
  refused("http://127.0.0.1:8000", "schlüssel").toThrow(
    /^the API key in LONGSHORE_KEY or --key contains a space or a non-ASCII character$/,
  );
  refused("http://me:secret@127.0.0.1:8000").toThrow(
    /^the URL of the API must not contain a user or password: give the key in LONGSHORE_KEY or --key$/,
  );
});

test.each([
  [400, "INVALID_REQUEST"],
  [404, "NOT_FOUND"],
  [429, "OVERLOADED"],
  [500, "INTERNAL"],
  [502, "UNAVAILABLE"],
])("a %d is %s to the commands", async (status, code) => {
  const refused = against(
    (_, response) => response.writeHead(status).end('{"error":{"message":"no"}}'),
    (url) => openClient(url, undefined).get("/v1/jobs"),
  );
  await expect(refused).rejects.toMatchObject({ code, message: "no" });
});

test.each([
  ["without a key", undefined, "requires an API key: give yours in LONGSHORE_KEY or --key"],
  ["with a wrong one", "lsk_old", "rejects the API key in LONGSHORE_KEY or --key"],
])("who is turned away %s is told what a command is given, no header", async (_, key, words) => {
  const refused = against(
    (_, response) => response.writeHead(401).end('{"error":{"message":"send Authorization: Bearer KEY"}}'),
    (url) => openClient(url, key).get("/v1/jobs"),
  );
  await expect(refused).rejects.toMatchObject({ code: "UNAUTHORIZED", message: expect.stringContaining(words) });
});

test("an API that is not reached: why is said, also where it is a certificate that nobody knows", async () => {
  const [cert, key] = ["cert.pem", "key.pem"].map((name) => readFileSync(join(packageRoot(), "test/support/tls", name)));
  const server = createServer({ cert, key }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const why = (url: string) =>
    openClient(url, undefined)
      .get("/v1/jobs")
      .catch(({ message }: Error) => /^no longshore answers at \S+ \((.*?)\); start one/.exec(message)?.[1]);
  expect(await why(`https://127.0.0.1:${port}`)).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
  server.close();
  expect(await why(`https://127.0.0.1:${port}`)).toBe("ECONNREFUSED");
  expect(await why("http://127.0.0.1:6000")).toBe("bad port");
});

test("bytes that break off are no end of them", async () => {
  const broken = against(
    (_, response) => {
      response.write("half");
      setImmediate(() => response.destroy());
    },
    async (url) => {
      for await (const _ of openClient(url, undefined).read("/v1/files/file-1/content"));
    },
  );
  await expect(broken).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("broke") });
});

const CHUNK = 65_536;
const fileOf = (chunks: number, content: AsyncIterable<Uint8Array>) => ({ name: "in.jsonl", bytes: chunks * CHUNK, content });
const content = async function* (chunks: number) {
  for (let i = 0; i < chunks; i++) yield Buffer.alloc(CHUNK);
};

test("to another address nobody is followed: its file is half read by then", async () => {
  const asked: string[] = [];
  await against(
    (request, response) => {
      asked.push(`${request.method} ${request.url}`);
      request.resume();
      response.writeHead(308, { location: "/there" }).end();
    },
    async (url) => {
      const { get, post, send } = openClient(url, undefined);
      const moved = { code: "INVALID_REQUEST", message: expect.stringContaining(`${url} redirects to another address`) };
      await expect(get("/v1/x")).rejects.toMatchObject(moved);
      await expect(post("/v1/x")).rejects.toMatchObject(moved);
      await expect(send("/v1/x", {}, fileOf(1, content(1)))).rejects.toMatchObject(moved);
    },
  );
  expect(asked).toEqual(["GET /v1/x", "POST /v1/x", "POST /v1/x"]);
});

test("what goes wrong with a file while it is sent is the file's fault, not the server's, which gets no whole form", async () => {
  const changed = new ServingError("INVALID_REQUEST", "in.jsonl was changed");
  let arrived = () => {};
  const arrives = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const failing = async function* () {
    yield* content(1);
    await arrives;
    throw changed;
  };
  let end: Promise<unknown> | null = null;
  await against(
    (request) => {
      end = once(request.resume(), "end").catch((error: unknown) => error);
      arrived();
    },
    async (url) => {
      await expect(openClient(url, undefined).send("/v1/files", {}, fileOf(2, failing()))).rejects.toBe(changed);
      expect(await end).toMatchObject({ code: "ECONNRESET" });
    },
  );
});

test("of a file that is sent, no more is in memory than is on its way", async () => {
  const chunks = 512;
  const before = bufferBytes();
  let held = 0;
  const weighed = async function* () {
    yield* content(chunks);
    held = bufferBytes() - before;
  };
  await against(
    (request, response) => request.resume().once("end", () => response.end("{}")),
    (url) => openClient(url, undefined).send("/v1/files", {}, fileOf(chunks, weighed())),
  );
  expect(held).toBeLessThan((chunks * CHUNK) / 4);
});

test("an answer that is no JSON is not of a longshore", async () => {
  const page = against(
    (_, response) => response.end("<html>"),
    (url) => openClient(url, undefined).get("/v1/jobs"),
  );
  await expect(page).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("is longshore running there?") });
});
