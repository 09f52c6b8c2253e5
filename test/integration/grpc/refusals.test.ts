import { createHash } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import * as grpc from "@grpc/grpc-js";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestApi, testApi } from "../../support/api.ts";
import { ask, type Client, call, closeClients, jobsAt, type Message } from "../../support/grpc.ts";

let api: TestApi;
let client: Client;

beforeAll(async () => {
  api = await testApi({ grpcPort: 0 });
  client = jobsAt(api.grpc!);
});
afterAll(async () => {
  closeClients();
  await api.close();
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
  [
    "the assistant's last word",
    "Submit",
    { ...ask, chat: { messages: [...ask.chat.messages, { role: "assistant", content: "In" }] } },
    grpc.status.INVALID_ARGUMENT,
    /messages\[1\].*prefix/,
  ],
  ["an unknown job", "Get", { id: "job_00000000000000000000" }, grpc.status.NOT_FOUND, /no job/],
  ["no job", "Cancel", {}, grpc.status.NOT_FOUND, /no job/],
];
test.each(refused)("%s is refused with a status", async (_, method, request, code, details) => {
  await expect(call(client, method, request)).rejects.toMatchObject({ code, details: expect.stringMatching(details) });
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

test.each(["gzip", "deflate"] as const)("a client that compresses with %s is refused, and told what is read", async (encoding) => {
  const Jobs = grpc.makeClientConstructor({}, "Jobs");
  const algorithm = { "grpc.default_compression_algorithm": grpc.compressionAlgorithms[encoding] };
  const compressing = new Jobs(api.grpc!, grpc.credentials.createInsecure(), algorithm);
  const same = (bytes: Buffer) => bytes;
  const refused = await new Promise<grpc.ServiceError | null>((resolve) => {
    compressing.makeUnaryRequest("/longshore.v1.Jobs/Submit", same, same, Buffer.alloc(1_000_000), (error) => resolve(error));
  });
  expect(refused).toMatchObject({ code: grpc.status.UNIMPLEMENTED, details: expect.stringMatching(/compressed/) });
  expect(refused!.metadata.get("grpc-accept-encoding")).toEqual(["identity"]);
  compressing.close();
});

test("no answer says that compressed messages are read", async () => {
  const session = http2.connect(`http://${api.grpc}`);
  const headers = { ":method": "POST", ":path": "/grpc.health.v1.Health/Check", "content-type": "application/grpc", te: "trailers" };
  const stream = session.request(headers);
  stream.end(Buffer.alloc(5)); // an empty message
  const [answer] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  expect(answer["grpc-accept-encoding"]).toBe("identity");
  session.destroy();
});

test("whatever is sent, an answer comes that is not our fault", async () => {
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
  await fc.assert(
    fc.asyncProperty(message, async (message) => {
      expect(answers).toContain(await codeOf(call(client, "Submit", message)));
    }),
    { numRuns: 150 },
  );
  const raw = (bytes: Uint8Array) =>
    new Promise((resolve, reject) => {
      const same = (buffer: Buffer) => buffer;
      const done = (error: unknown) => (error === null ? resolve(null) : reject(error));
      client.makeUnaryRequest("/longshore.v1.Jobs/Submit", same, same, Buffer.from(bytes), done);
    });
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
      expect(answers).toContain(await codeOf(raw(bytes)));
    }),
    { numRuns: 100 },
  );
  expect(await codeOf(call(client, "Get", { id: "" }))).toBe(grpc.status.NOT_FOUND);
});
