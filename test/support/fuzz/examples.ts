/** Requests that are answered, one of each surface with every field it can have, and paths that mean something. */

/** Answers stay short, whatever the request says. */
export const TOKENS = 6;

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
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
export const response = {
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
export const batch = {
  input_file_id: "file-00000000000000000000",
  endpoint: "/v1/completions",
  completion_window: "24h",
  metadata: { k: "v" },
  output_expires_after: { anchor: "created_at", seconds: 3600 },
};

export const posts: readonly (readonly [string, Json])[] = [
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
export const gets = [
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
export const ofResponses = ["", "/input_items", "/cancel"].map((end) => `/v1/responses/resp_00000000000000000000${end}`);
export const ofJobs = ["", "/events", "/stream", "/cancel"].map((end) => `/v1/jobs/job_00000000000000000000${end}`);
