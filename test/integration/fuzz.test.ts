import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { saveFile } from "../../services/shared/batches/file.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";

/** Whatever is sent, an answer comes, no worker and no replica is blamed for it, and a refusal has the form that clients of the surface read. */

let cluster: Served;
beforeAll(async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_BODY_MAX_BYTES: "100000" };
  cluster = await serveEmbedded(loadConfig(settings), silentLog);
  const file = {
    id: batch.input_file_id,
    filename: "in.jsonl",
    purpose: "batch",
    bytes: 0,
    createdAt: 0,
    expiresAt: 4e9,
    parts: [],
  } as const;
  await saveFile(cluster.cluster.bus, "default", file);
});
afterAll(() => cluster.stop());

const ANSWER_MS = 20_000;
/** FUZZ_RUNS=5000 for a long look. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 150);
/** Answers stay short, whatever the request says. */
const TOKENS = 6;

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
const tool = { type: "function", function: { name: "f", description: "d", parameters: { type: "object" } } };
const call = { id: "a", type: "function", function: { name: "f", arguments: '{"x":1}' } };
const sampling = { temperature: 1, top_p: 0.9, top_k: 5, min_p: 0.1, seed: 7, n: 2, stop: ["x"], stream: true };
const more = { presence_penalty: 1, frequency_penalty: -1, logit_bias: { "5": 3 }, stream_options: { include_usage: true } };
const chat = {
  model: "yardlog",
  messages: [
    { role: "system", content: "s" },
    { role: "user", content: [{ type: "text", text: "u" }] },
    { role: "assistant", content: null, reasoning_content: "r", tool_calls: [call] },
    { role: "tool", tool_call_id: "a", content: "t" },
  ],
  tools: [tool],
  tool_choice: "auto",
  thinking: { type: "enabled" },
  reasoning_effort: "high",
  response_format: { type: "text" },
  logprobs: true,
  top_logprobs: 2,
  ...sampling,
  ...more,
};
const schema = {
  type: "object",
  properties: {
    a: { type: "integer", minimum: 1 },
    b: { enum: ["x", null] },
    c: { type: "array", items: { $ref: "#/$defs/d" }, maxItems: 2 },
  },
  required: ["a"],
  additionalProperties: false,
  $defs: { d: { anyOf: [{ type: "string", format: "date" }, { type: "boolean" }] } },
};
const inJson = {
  model: "yardlog",
  messages: [{ role: "user", content: "u" }],
  response_format: { type: "json_schema", json_schema: { name: "n", schema } },
};
const completion = { model: "yardlog", prompt: "p", logprobs: 2, ...sampling, ...more };
const conversation = {
  model: "yardlog",
  system: [{ type: "text", text: "s" }],
  messages: [
    { role: "user", content: "u" },
    {
      role: "assistant",
      content: [
        { type: "thinking", thinking: "t" },
        { type: "tool_use", id: "a", name: "f", input: { x: 1 } },
      ],
    },
    { role: "user", content: [{ type: "tool_result", tool_use_id: "a", content: [{ type: "text", text: "r" }] }] },
  ],
  tools: [{ name: "f", description: "d", input_schema: { type: "object" } }],
  tool_choice: { type: "auto" },
  thinking: { type: "enabled", budget_tokens: 1024 },
  output_config: { effort: "high" },
};
const message = { ...conversation, max_tokens: TOKENS, temperature: 1, top_p: 0.9, top_k: 5, stop_sequences: ["x"], stream: true };
const response = {
  model: "yardlog",
  instructions: "s",
  input: [
    { role: "user", content: [{ type: "input_text", text: "u" }] },
    { type: "reasoning", id: "rs_1", summary: [], content: [{ type: "reasoning_text", text: "r" }], encrypted_content: "x" },
    { type: "message", role: "assistant", content: [{ type: "output_text", text: "a", annotations: [] }] },
    { type: "function_call", call_id: "a", name: "f", arguments: '{"x":1}' },
    { type: "function_call_output", call_id: "a", output: [{ type: "input_text", text: "t" }] },
  ],
  tools: [{ type: "function", name: "f", description: "d", parameters: { type: "object" }, strict: true }],
  tool_choice: "auto",
  parallel_tool_calls: true,
  reasoning: { effort: "high", summary: "auto" },
  text: { format: { type: "text" }, verbosity: "low" },
  include: ["reasoning.encrypted_content"],
  metadata: { a: "b" },
  truncation: "disabled",
  store: true,
  background: false,
  stream: true,
  temperature: 1,
  top_p: 0.9,
  seed: 7,
  user: "u",
  max_output_tokens: TOKENS,
};
const batch = {
  input_file_id: "file-00000000000000000000",
  endpoint: "/v1/completions",
  completion_window: "24h",
  metadata: { k: "v" },
  output_expires_after: { anchor: "created_at", seconds: 3600 },
};

const posts: readonly (readonly [string, Json])[] = [
  ["/v1/chat/completions", chat],
  ["/v1/chat/completions", inJson],
  ["/v1/completions", completion],
  ["/v1/messages", message],
  ["/v1/messages/count_tokens", conversation],
  ["/v1/responses", response],
  ["/v1/responses/input_tokens", response],
  ["/v1/jobs", { kind: "chat", request: { ...chat, n: 1 } }],
  ["/v1/jobs", { kind: "completion", request: { ...completion, n: 1 } }],
  ["/v1/batches", batch],
];
const gets = [
  "/v1/models",
  "/v1/models/yardlog",
  "/v1/jobs",
  "/v1/jobs/job_00000000000000000000",
  "/v1/files",
  "/v1/files/file-00000000000000000000",
  "/v1/files/file-00000000000000000000-output/content",
  "/v1/batches",
  "/v1/batches/batch_00000000000000000000",
  "/health",
  "/ready",
  "/metrics",
];
const ofResponses = ["", "/input_items", "/cancel"].map((end) => `/v1/responses/resp_00000000000000000000${end}`);
const ofJobs = ["", "/events", "/stream", "/cancel"].map((end) => `/v1/jobs/job_00000000000000000000${end}`);

const anything: fc.Arbitrary<Json> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<Json[]>(
      null,
      true,
      0,
      -1,
      2,
      1e300,
      2 ** 53,
      "",
      "x",
      "\ud800",
      [],
      {},
      [null],
      [[]],
      "</think>",
      "<｜User｜>",
    ),
  },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json> },
);

/** Names that mean something elsewhere, or only to the code. */
const anyKey = fc.oneof(
  fc.constantFrom(
    ...new Set(posts.flatMap(([, example]) => pathsOf(example).flat())),
    "wo_eos",
    "task",
    "response_format",
    "max_completion_tokens",
    "view",
    "suffix",
    "echo",
    "best_of",
    "input",
  ),
  fc.string(),
);

/** `value` with what lies at one of its paths replaced, removed, doubled or given a neighbour. */
const changed = (value: Json): fc.Arbitrary<Json> =>
  fc
    .tuple(fc.constantFrom(...pathsOf(value)), fc.constantFrom("replace", "remove", "double", "add"), anything, anyKey)
    .map(([path, how, other, key]) => {
      const copy = structuredClone(value);
      if (path.length === 0) return how === "remove" ? null : other;
      const parent = path.slice(0, -1).reduce<Json>((inner, step) => (inner as { [key: string]: Json })[step]!, copy) as {
        [key: string]: Json;
      };
      const last = path.at(-1)!;
      if (how === "remove") delete parent[last];
      else if (how === "double" && Array.isArray(parent)) parent.push(structuredClone(parent[Number(last)]!));
      else if (how === "add" && !Array.isArray(parent)) parent[key] = other;
      else parent[last] = other;
      return copy;
    });

function pathsOf(value: Json): string[][] {
  return value === null || typeof value !== "object"
    ? [[]]
    : [[], ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner).map((path) => [key, ...path]))];
}

const changedOften = (value: Json): fc.Arbitrary<Json> => changed(value).chain((once) => fc.oneof(fc.constant(once), changed(once)));

/** Short answers: the lengths that are left as the client would have sent them are cut. */
function short(value: Json): Json {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const { request } = value;
  const own = (length: Json | undefined) => typeof length === "number" || length === undefined || length === null;
  const tokens = {
    ...(own(value.max_tokens) && { max_tokens: TOKENS }),
    ...("input" in value && own(value.max_output_tokens) && { max_output_tokens: TOKENS }),
  };
  return { ...value, ...tokens, ...(request !== undefined && { request: short(request) }) };
}

interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

async function ask(path: string, options: RequestInit = {}): Promise<Answered> {
  const response = await fetch(cluster.api.url + path, { ...options, signal: AbortSignal.timeout(ANSWER_MS) });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

const postJson = (path: string, body: Json) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

function check(path: string, { status, headers, text }: Answered): void {
  expect(status, text).toBeLessThan(500);
  expect(headers.get("x-request-id")).toMatch(/^req_[0-9a-z]{20}$/);
  if (status >= 400) checkError(path, JSON.parse(text));
  else if (headers.get("content-type")?.startsWith("text/event-stream") === true) checkStream(path, text);
}

const openaiError = { error: { message: expect.any(String), type: expect.any(String), code: expect.any(String) } };
const anthropicError = { type: "error", error: { message: expect.any(String), type: expect.stringMatching(/_error$/) } };

function checkError(path: string, body: unknown): void {
  if (path.startsWith("/v1/messages")) expect(body).toMatchObject(anthropicError);
  else expect(body).toMatchObject(openaiError);
}

function checkStream(path: string, text: string): void {
  const data = text.split("\n").flatMap((line) => (line.startsWith("data: ") ? [line.slice("data: ".length)] : []));
  const events = data.filter((line) => line !== "[DONE]").map((line) => JSON.parse(line));
  const failed = events.filter((event) => "error" in event || event.type === "error");
  expect(failed).toEqual([]);
  if (path.startsWith("/v1/messages")) expect(events.at(-1)).toEqual({ type: "message_stop" });
  else if (path.startsWith("/v1/responses")) expect(events.at(-1).type).toMatch(/^response\.(completed|incomplete)$/);
  else expect(data.at(-1)).toBe("[DONE]");
}

describe.each(posts)("POST %s", (path, example) => {
  test("the example itself is answered", async () => {
    const answered = await postJson(path, short(example));
    expect(answered.status, answered.text).toBeLessThan(300);
    check(path, answered);
  });

  test("an example with anything at any place", async () => {
    await fc.assert(
      fc.asyncProperty(changedOften(example), async (body) => {
        const answered = await postJson(path, short(body));
        check(path, answered);
        if (answered.status === 202) check(path, await ask(`/v1/jobs/${answered.headers.get("x-job-id")}/stream`));
      }),
      { numRuns: RUNS },
    );
  });

  test("bytes, and types and encodings that say what they are", async () => {
    const header = fc.constantFrom("application/json", "text/plain", "application/json; charset=latin1", "multipart/form-data", "x");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ max: 127, maxLength: 40 }), header, async (body, type) => {
        check(path, await ask(path, { method: "POST", headers: { "content-type": type }, body: new Uint8Array(body) }));
      }),
      { numRuns: RUNS / 3 },
    );
  });
});

test("names that only other surfaces or the code know mean nothing", async () => {
  const foreign = {
    n: "x",
    seed: "y",
    logprobs: 3.5,
    top_logprobs: [],
    max_completion_tokens: {},
    deadline_seconds: "z",
    stop: 5,
    view: 1,
  };
  const inner = { wo_eos: "x", task: "y", tools: 5, response_format: 7 };
  const user = { role: "user", content: "u", ...inner };
  const chatted = await postJson("/v1/chat/completions", { model: "yardlog", messages: [user], max_tokens: TOKENS });
  expect(chatted.status, chatted.text).toBe(200);
  const messaged = await postJson("/v1/messages", { model: "yardlog", messages: [user], max_tokens: TOKENS, ...foreign });
  expect(messaged.status, messaged.text).toBe(200);
  const completed = await postJson("/v1/completions", {
    model: "yardlog",
    prompt: "p",
    max_tokens: TOKENS,
    top_logprobs: [],
    max_completion_tokens: {},
  });
  expect(completed.status, completed.text).toBe(200);
});

test("any method at any path, with any header that means something", async () => {
  const paths = fc.oneof(
    fc.constantFrom(...gets, ...ofJobs, ...ofResponses, ...posts.map(([path]) => path)),
    fc.webPath({ size: "small" }),
    fc
      .tuple(fc.constantFrom("/v1/jobs/", "/v1/models/", "/v1/messages/", "/v1/responses/"), fc.string({ maxLength: 30 }))
      .map(([start, end]) => start + encodeURIComponent(end)),
  );
  const text = fc.stringMatching(/^[!-~]{0,40}$/);
  const headers = fc.record(
    { "idempotency-key": text, "last-event-id": text, "x-stainless-retry-count": text, "x-api-key": text },
    { requiredKeys: [] },
  );
  const method = fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS");
  const query = fc.constantFrom(
    "",
    "?after=1",
    "?after=-1",
    "?after=x",
    "?after=1&after=2",
    "?beta=true",
    "?stream=true&starting_after=x",
    "?limit=0",
    "?%",
  );
  await fc.assert(
    fc.asyncProperty(paths, query, method, headers, async (path, query, method, headers) => {
      const body = method === "GET" ? {} : { body: "{}" };
      check(path, await ask(path + query, { method, headers: { "content-type": "application/json", ...headers }, ...body }));
    }),
    { numRuns: 2 * RUNS },
  );
});

test("a job's streams from any place on", async () => {
  const { text } = await postJson("/v1/jobs", { kind: "completion", request: { model: "yardlog", prompt: "p", max_tokens: TOKENS } });
  const { id } = JSON.parse(text) as { id: string };
  const place = fc.oneof(fc.nat(40).map(String), fc.string({ maxLength: 20 }));
  const path = fc.constantFrom("events", "stream");
  await fc.assert(
    fc.asyncProperty(path, place, async (end, after) => {
      const answered = await ask(`/v1/jobs/${id}/${end}?after=${encodeURIComponent(after)}`);
      expect([200, 400]).toContain(answered.status);
      if (end === "stream") check("/v1/jobs", answered);
    }),
    { numRuns: 60 },
  );
});

test("a response's events from any place on, and any page of what was asked", async () => {
  const { text } = await postJson("/v1/responses", { ...response, stream: false });
  const { id } = JSON.parse(text) as { id: string };
  const query = fc.record(
    {
      stream: fc.constantFrom("true", "false", "x"),
      starting_after: fc.oneof(fc.nat(40).map(String), fc.string({ maxLength: 20 })),
      limit: fc.oneof(fc.nat(3).map(String), fc.string({ maxLength: 5 })),
      order: fc.constantFrom("asc", "desc", "x"),
      after: fc.string({ maxLength: 20 }),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom("", "/input_items"), query, async (end, query) => {
      const answered = await ask(`/v1/responses/${id}${end}?${new URLSearchParams(query)}`);
      expect([200, 400]).toContain(answered.status);
      if (answered.status >= 400) checkError("/v1/responses", JSON.parse(answered.text));
    }),
    { numRuns: 60 },
  );
});
