import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { z } from "zod";
import { messagesRequest } from "../../../services/api/anthropic/requests.ts";
import { fromConnection, rawAnswer } from "../../../services/api/errors.ts";
import { chatRequest, completionRequest, parseBody } from "../../../services/api/requests.ts";
import { responsesRequest } from "../../../services/api/responses/requests.ts";
import type { ServingError } from "../../../services/shared/runtime/errors.ts";
import { type TestApi, testApi } from "../../support/api.ts";

let api: TestApi;
beforeAll(async () => {
  api = await testApi({ bodyMaxBytes: 100_000 });
});
afterAll(() => api.close());

const ask = (path: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}, from = api) =>
  fetch(from.url + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body });

const user = { role: "user", content: "hello" };
const ok = { model: "yardlog", messages: [user] };
const tools = [{ type: "function", function: { name: "f" } }];
const format = (schema: unknown, name = "n") => ({ type: "json_schema", json_schema: { name, schema } });
const unsupportedSchema = ["response_format.json_schema.schema", "unsupported_parameter"] as const;

const many = <T>(value: T) => Array<T>(200_000).fill(value);
const nameless = (tool: object) => Array(50_000).fill({ ...tool, name: "" });
const members = Object.fromEntries(many(5).map((wrong, i) => [i, wrong]));

/** Each problem that is told costs 4 us and 500 bytes: a body of nothing but problems held everybody up for seconds. */
test.each<[string, z.ZodType, object, string]>([
  ["numbers for messages", chatRequest, { ...ok, messages: many(1) }, "messages[0]"],
  ["empty messages", chatRequest, { ...ok, messages: many({}) }, "messages[0].role"],
  ["numbers for parts", chatRequest, { ...ok, messages: [{ role: "user", content: many(1) }] }, "messages[0].content[0]"],
  ["biases beyond all", chatRequest, { ...ok, logit_bias: { ...members, x: 1_000 } }, "logit_bias"],
  ["ids below 0", completionRequest, { model: "yardlog", prompt: many(-1) }, "prompt[0]"],
  ["ids beyond all integers", completionRequest, { model: "yardlog", prompt: many(1e99) }, "prompt[0]"],
  ["numbers for items", responsesRequest, { model: "yardlog", input: many(1) }, "input[0]"],
  ["metadata without end", responsesRequest, { model: "yardlog", input: "x", metadata: members }, "metadata"],
  [
    "items with ids as long as a letter",
    responsesRequest,
    { model: "yardlog", input: Array(40_000).fill({ role: "user", content: "", id: "x".repeat(257) }) },
    "input[0].id",
  ],
  ["what no answer has", responsesRequest, { model: "yardlog", input: "x", include: many("x") }, "include[0]"],
  ["tools without names", responsesRequest, { model: "yardlog", input: "x", tools: nameless({ type: "function" }) }, "tools[0].name"],
  ["Anthropic's tools without names", messagesRequest, { ...ok, max_tokens: 5, tools: nameless({ input_schema: {} }) }, "tools[0].name"],
  ["numbers for Anthropic's messages", messagesRequest, { ...ok, max_tokens: 5, messages: many(1) }, "messages[0]"],
])("of a body of nothing but problems one is told: %s", (_, schema, body, param) => {
  let told = 0;
  const counted = {
    safeParse(...args: Parameters<z.ZodType["safeParse"]>) {
      const parsed = schema.safeParse(...args);
      told = parsed.error?.issues.length ?? 0;
      return parsed;
    },
  } as z.ZodType;
  expect(() => parseBody(counted, body)).toThrow(expect.objectContaining({ param }));
  expect(told).toBe(1);
});

test.each<[string, object, string, string]>([
  ["no messages", { model: "yardlog" }, "messages", "missing_required_parameter"],
  ["a message without a role", { ...ok, messages: [{ content: "x" }] }, "messages[0].role", "missing_required_parameter"],
  ["messages of the wrong type", { ...ok, messages: "hi" }, "messages", "invalid_value"],
  ["an unknown role", { ...ok, messages: [{ role: "boss", content: "" }] }, "messages[0].role", "invalid_value"],
  ["content of the wrong type", { ...ok, messages: [{ role: "user", content: 5 }] }, "messages[0].content", "invalid_value"],
  ["a temperature out of range", { ...ok, temperature: 3 }, "temperature", "invalid_value"],
  ["a stop that is a number", { ...ok, stop: 5 }, "stop", "invalid_value"],
  ["five stops", { ...ok, stop: ["a", "b", "c", "d", "e"] }, "stop", "invalid_value"],
  ["half a surrogate pair as stop", { ...ok, stop: "\udc00" }, "stop", "invalid_value"],
  ["a stop as long as a letter", { ...ok, stop: ["x".repeat(1_001)] }, "stop[0]", "invalid_value"],
  ["max_tokens 0", { ...ok, max_tokens: 0 }, "max_tokens", "invalid_value"],
  ["n = 0", { ...ok, n: 0 }, "n", "invalid_value"],
  ["n beyond all", { ...ok, n: 1_000 }, "n", "invalid_value"],
  ["logprobs by number", { ...ok, logprobs: 5 }, "logprobs", "invalid_value"],
  ["too many alternatives", { ...ok, logprobs: true, top_logprobs: 21 }, "top_logprobs", "invalid_value"],
  ["alternatives without logprobs", { ...ok, top_logprobs: 2 }, "top_logprobs", "invalid_value"],
  ["a penalty out of range", { ...ok, presence_penalty: 2.5 }, "presence_penalty", "invalid_value"],
  ["a bias out of range", { ...ok, logit_bias: { 5: 101 } }, "logit_bias.5", "invalid_value"],
  ["a bias by name", { ...ok, logit_bias: { the: 1 } }, "logit_bias.the", "invalid_value"],
  ["a bias for no token", { ...ok, logit_bias: { 99999999: 1 } }, "logit_bias", "invalid_value"],
  ["a format nobody knows", { ...ok, response_format: { type: "yaml" } }, "response_format.type", "invalid_value"],
  [
    "a schema that is missing",
    { ...ok, response_format: { type: "json_schema" } },
    "response_format.json_schema",
    "missing_required_parameter",
  ],
  ["a schema without a name", { ...ok, response_format: format({}, "") }, "response_format.json_schema.name", "invalid_value"],
  ["a schema that is a list", { ...ok, response_format: format([]) }, "response_format.json_schema.schema", "invalid_value"],
  ["a look-ahead", { ...ok, response_format: format({ type: "string", pattern: "(?=a)" }) }, ...unsupportedSchema],
  ["a schema nothing meets", { ...ok, response_format: format({ $ref: "#" }) }, ...unsupportedSchema],
  ["a look-ahead beside tools", { ...ok, tools, response_format: format({ type: "string", pattern: "(?=a)" }) }, ...unsupportedSchema],
  ["half a surrogate pair", { ...ok, messages: [{ role: "user", content: "\ud800" }] }, "messages", "invalid_value"],
])("400 names the field: %s", async (_, body, param, code) => {
  const response = await ask("/v1/chat/completions", JSON.stringify(body));
  expect(response.status).toBe(400);
  expect(response.headers.get("x-request-id")).toMatch(/^req_/);
  const { error } = (await response.json()) as { error: Record<string, unknown> };
  expect(error).toEqual({ message: expect.any(String), type: "invalid_request_error", param, code });
});

test.each([
  ["/v1/chat/completions", '"messages":[MESSAGE],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":SCHEMA}}'],
  ["/v1/responses", '"input":[MESSAGE],"text":{"format":{"type":"json_schema","name":"n","schema":SCHEMA}}'],
  ["/v1/messages", '"messages":[MESSAGE],"max_tokens":5,"output_config":{"format":{"type":"json_schema","schema":SCHEMA}}'],
])("a value of a schema that would be another one to whoever reads the answer is named: %s", async (path, rest) => {
  for (const number of ["1e400", "-1e400", `1${"0".repeat(400)}`]) {
    const schema = `{"enum":["Infinity",{"a":${number}}],"default":${number}}`;
    const response = await ask(path, `{"model":"yardlog",${rest.replace("MESSAGE", JSON.stringify(user)).replace("SCHEMA", schema)}}`);
    const message = expect.stringContaining("enum.1.a must be a number that a double holds");
    expect([response.status, await response.json()]).toMatchObject([400, { error: { message } }]);
  }
});

test.each([
  ["beyond the vocabulary", 999_999_999],
  ["that would wrap around to a token", 2 ** 32 + 5],
])("a prompt id %s is named", async (_, id) => {
  const response = await ask("/v1/completions", JSON.stringify({ model: "yardlog", prompt: [1, id] }));
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { param: "prompt", message: expect.stringContaining(String(id)) } });
});

test.each([
  [
    "a tool",
    "/v1/chat/completions",
    '"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":DEEP}}]',
  ],
  [
    "a tool that is not used",
    "/v1/responses",
    '"input":"x","tool_choice":"none","tools":[{"type":"function","name":"f","parameters":{"a":DEEP}}]',
  ],
  [
    "arguments",
    "/v1/chat/completions",
    '"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":DEEP}}}]},{"role":"user","content":"x"}]',
  ],
  ["what nobody knows", "/v1/chat/completions", '"messages":[{"role":"user","content":"x"}],"unknown":DEEP'],
])("nesting without end is the caller's mistake: in %s", async (_, path, rest) => {
  const deep = "[".repeat(20_000) + "]".repeat(20_000);
  const response = await ask(path, `{"model":"yardlog",${rest.replace("DEEP", deep)}}`);
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { code: "invalid_json" } });
});

test("a body of too many parts is refused before each of them is found at fault; a context of ids is not", () => {
  const refusal = (schema: z.ZodType, body: object) => {
    try {
      return parseBody(schema, { model: "yardlog", ...body });
    } catch (error) {
      return (error as ServingError).code;
    }
  };
  const many = (count: number, value: unknown) => Array<unknown>(count).fill(value);
  expect(refusal(chatRequest, { messages: many(1_048_577, 0) })).toBe("TOO_LARGE");
  expect(refusal(chatRequest, { messages: many(300_000, "") })).toBe("TOO_LARGE");
  expect(refusal(chatRequest, { logit_bias: Object.fromEntries(many(300_000, 1).map((one, i) => [`x${i}`, one])) })).toBe("TOO_LARGE");
  expect(refusal(chatRequest, { messages: many(3, 0) })).toBe("INVALID_REQUEST");
  expect(refusal(completionRequest, { prompt: many(1_048_575, 1) })).toMatchObject({ model: "yardlog" });
});

test("an answer that no route made has the same body and id as all others", async () => {
  const posted = await fetch(`${api.url}/v1/chat/completions`, { method: "POST" });
  const answers = [posted, await fetch(`${api.url}/v1/models/%ff`), await fetch(`${api.url}/v1/jobs/${"a".repeat(500)}`)];
  for (const response of answers) {
    expect(response.status).toBe(400);
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    expect(await response.json()).toEqual({
      error: { message: expect.any(String), type: "invalid_request_error", param: null, code: expect.any(String) },
    });
  }
});

test("what is not HTTP is told so and cut off", async () => {
  const socket = connect(Number(new URL(api.url).port), "127.0.0.1");
  socket.write("GARBAGE\r\n\r\n");
  let said = "";
  for await (const bytes of socket) said += String(bytes);
  expect(said).toMatch(/^HTTP\/1.1 400 .*x-request-id: req_.*"type":"invalid_request_error"/s);
});

test("headers beyond all measure are 431, a request that does not come is 408, and may be sent again", async () => {
  const socket = connect(Number(new URL(api.url).port), "127.0.0.1");
  socket.write(`GET /v1/models HTTP/1.1\r\nhost: x\r\nx: ${"x".repeat(20_000)}\r\n\r\n`);
  let said = "";
  for await (const bytes of socket) said += String(bytes);
  expect(said).toMatch(/^HTTP\/1.1 431 Request Header Fields Too Large\r\n.*"type":"invalid_request_error"/s);
  const late = Object.assign(new Error("Request timeout"), { code: "ERR_HTTP_REQUEST_TIMEOUT" });
  expect(rawAnswer(fromConnection(late), "req_1")).toMatch(
    /^HTTP\/1.1 408 Request Timeout\r\n.*retry-after: 1\r\n.*"code":"request_timeout"/s,
  );
});

test.each([
  ["/v1/chat/completions", { error: { type: "invalid_request_error", code: "request_timeout" } }],
  ["/v1/messages", { type: "error", error: { type: "timeout_error" }, request_id: expect.stringMatching(/^req_/) }],
])("a body that stops on its way is 408, in the words of %s", async (path, told) => {
  const own = await testApi(); // its timers are lost
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const socket = connect(Number(new URL(own.url).port), "127.0.0.1");
  socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"model":`);
  let said = "";
  socket.on("data", (bytes) => (said += String(bytes)));
  while (said === "") {
    vi.advanceTimersByTime(60_000);
    await new Promise(setImmediate);
  }
  vi.useRealTimers();
  if (!socket.closed) await once(socket, "close");
  const [head, body] = said.split("\r\n\r\n", 2);
  expect(head).toMatch(/^HTTP\/1.1 408 .*\r\nretry-after: 1\r\n/s);
  expect(JSON.parse(body!)).toMatchObject(told);
  await own.close();
});

test.each([
  ["/v1/chat/completions", {}, "model: is missing"],
  ["/v1/completions", { model: "yardlog" }, "prompt: is missing"],
  ["/v1/completions", { model: "yardlog", prompt: ["a", "b"] }, /^prompt\[0\]: only one prompt a request is supported: .* batch$/],
  ["/v1/completions", { model: "yardlog", prompt: [[1], [2]] }, /^prompt\[0\]: only one prompt a request/],
  ["/v1/completions", { model: "yardlog", prompt: [1, null] }, /^prompt\[1\]: Invalid input: expected number/],
  ["/v1/messages", { ...ok }, "max_tokens: is missing"],
  ["/v1/responses", { model: "yardlog" }, "input: is missing"],
  ["/v1/jobs", { kind: "chat", request: { model: "yardlog" } }, "request.messages: is missing"],
  ["/v1/jobs", { request: ok }, "kind: is missing"],
])("what is wrong is said so that it can be mended: %s %j", async (path, body, words) => {
  const response = await ask(path, JSON.stringify(body));
  expect([response.status, await response.json()]).toMatchObject([400, { error: { message: expect.stringMatching(words) } }]);
});

test("a list of one text is that text, as some clients send it", () => {
  expect(parseBody(completionRequest, { model: "yardlog", prompt: ["a"] })).toMatchObject({ prompt: "a" });
});

test("an unknown model is 404 and names the one that is served", async () => {
  const response = await ask("/v1/chat/completions", JSON.stringify({ ...ok, model: "gpt" }));
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({
    error: { code: "model_not_found", param: "model", message: expect.stringContaining("yardlog") },
  });
});

test("prompt and answer that do not fit the context are refused before any work", async () => {
  const response = await ask("/v1/chat/completions", JSON.stringify({ ...ok, max_tokens: 1_048_576 }));
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { code: "context_length_exceeded", param: "max_tokens" } });
});

test("bytes that are not UTF-8, text that is not JSON, and a body without a known type are 400", async () => {
  const invalid = new Uint8Array([...new TextEncoder().encode('{"model":"'), 0xff, 0xfe, ...new TextEncoder().encode('"}')]);
  expect(await (await ask("/v1/chat/completions", invalid)).json()).toMatchObject({ error: { code: "invalid_encoding" } });
  expect(await (await ask("/v1/chat/completions", '{"model":')).json()).toMatchObject({ error: { code: "invalid_json" } });
  expect((await ask("/v1/chat/completions", "a=b", { "content-type": "text/plain" })).status).toBe(400);
  const compressed = await ask("/v1/chat/completions", "x", { "content-encoding": "gzip" });
  expect(await compressed.json()).toMatchObject({ error: { code: "unsupported_encoding" } });
  expect((await ask("/v1/chat/completions", "null")).status).toBe(400);
});

test("no body under a type is no body: where one is needed that is said, and where none is, nobody misses it", async () => {
  const chat = await ask("/v1/chat/completions", "");
  expect([chat.status, await chat.json()]).toMatchObject([400, { error: { message: "the request has no body: send JSON" } }]);
  const { id } = (await (await ask("/v1/jobs", JSON.stringify({ kind: "chat", request: ok }))).json()) as { id: string };
  const cancelled = await ask(`/v1/jobs/${id}/cancel`, "");
  expect([cancelled.status, await cancelled.json()]).toMatchObject([200, { status: "cancelled" }]);
  const deleted = await fetch(`${api.url}/v1/jobs/${id}`, { method: "DELETE", headers: { "content-type": "application/json" } });
  expect(deleted.status).toBe(200);
});

test("a body above the limit is 413", async () => {
  const response = await ask("/v1/chat/completions", JSON.stringify({ ...ok, pad: "x".repeat(200_000) }));
  expect(response.status).toBe(413);
  expect(await response.json()).toMatchObject({ error: { code: "request_too_large" } });
});

test("unknown routes and jobs are 404", async () => {
  expect((await fetch(`${api.url}/v1/nothing`)).status).toBe(404);
  expect((await fetch(`${api.url}/v1/jobs/job_00000000000000000000`)).status).toBe(404);
  expect((await fetch(`${api.url}/v1/jobs/${encodeURIComponent("../*.>")}`)).status).toBe(404);
});

test("when too many jobs wait, the next is 429 with Retry-After, and the ones before are kept", async () => {
  const full = await testApi({ queueJobsMax: 3 }); // where no test before this one has left a job that is counted yet
  const submit = () => ask("/v1/jobs", JSON.stringify({ kind: "chat", request: ok }), {}, full);
  const taken = [await submit(), await submit(), await submit()];
  expect(taken.map(({ status }) => status)).toEqual([202, 202, 202]);
  const refused = await submit();
  expect(refused.status).toBe(429);
  expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
  for (const response of taken) {
    const { id } = (await response.json()) as { id: string };
    const cancelled = (await (await ask(`/v1/jobs/${id}/cancel`, "{}", {}, full)).json()) as { status: string };
    expect(cancelled.status).toBe("cancelled");
  }
  await full.close();
});

test("with keys configured, only their holders get in, and a tenant does not see another's jobs", async () => {
  const digest = (key: string) => createHash("sha256").update(key).digest("hex");
  const guarded = await testApi({ apiKeys: [digest("one"), digest("two")].join(",") });
  const as = (key: string, path: string, body?: object) =>
    fetch(guarded.url + path, {
      method: body === undefined ? "GET" : "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  expect((await as("three", "/v1/models")).status).toBe(401);
  expect((await as("one", "/v1/models")).status).toBe(200);
  const { id } = (await (await as("one", "/v1/jobs", { kind: "chat", request: ok })).json()) as { id: string };
  expect((await as("one", `/v1/jobs/${id}`)).status).toBe(200);
  const hidden = (await (await as("two", `/v1/jobs/${id}`)).json()) as object;
  const absent = "job_00000000000000000000";
  const unknown = await (await as("two", `/v1/jobs/${absent}`)).text();
  expect(hidden, "as if it did not exist").toEqual(JSON.parse(unknown.replace(absent, id)));
  expect(await (await as("two", "/v1/jobs")).json()).toMatchObject({ data: [] });
  await guarded.close();
});
