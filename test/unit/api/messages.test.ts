import { createHash } from "node:crypto";
import Anthropic from "@anthropic-ai/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { playJob, playText, promptOf, type Script, type TestApi, testApi } from "../../support/api.ts";

let api: TestApi;
let client: Anthropic;

beforeAll(async () => {
  api = await testApi({ graceMs: 50, heartbeatMs: 40 });
  client = new Anthropic({ baseURL: api.url, apiKey: "none", maxRetries: 0 });
});
afterAll(() => api.close());

const question = { model: "yardlog", max_tokens: 200, messages: [{ role: "user" as const, content: "Where is red-fox?" }] };
const tools = [{ name: "find", description: "d", input_schema: { type: "object" as const, properties: { bay: { type: "number" } } } }];

/** What the model says next, and the prompt that it was said to. */
const says = async (text: string, end?: Script["end"]) => promptOf(api, await playText(api, text, end));

const CALLS =
  'Bay, then.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="bay" string="false">42</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name="find">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
const CALLS_CONTENT = [
  { type: "thinking", thinking: "Bay, then.", signature: expect.stringMatching(/^job_/) },
  { type: "text", text: "Let me look." },
  { type: "tool_use", id: expect.stringMatching(/^toolu_\w+_0$/), name: "find", input: { bay: 42 }, caller: { type: "direct" } },
  { type: "tool_use", id: expect.stringMatching(/^toolu_\w+_1$/), name: "find", input: {}, caller: { type: "direct" } },
];

test("a message holds the text, why it ended, and a usage whose input adds up to the prompt", async () => {
  const answer = client.messages.create(question).withResponse();
  await says("In bay 42.");
  const { data, response, request_id } = await answer;
  expect(request_id).toMatch(/^req_/);
  expect(data).toMatchObject({
    id: `msg_${response.headers.get("x-job-id")!.slice(4)}`,
    type: "message",
    role: "assistant",
    model: "yardlog",
    content: [{ type: "text", text: "In bay 42." }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: { cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
  });
  const { input_tokens } = await client.messages.countTokens({ model: "yardlog", messages: question.messages });
  expect(data.usage.input_tokens).toBe(input_tokens);
});

test("the model is listed, and described, as that client reads it", async () => {
  const [listed] = (await client.models.list()).data;
  expect(listed).toMatchObject({ id: "yardlog", type: "model", display_name: "yardlog", created_at: expect.stringMatching(/^\d{4}-.*Z$/) });
  expect(await client.models.retrieve("yardlog")).toEqual(listed);
});

test("what was read from the cache is not counted as input twice", async () => {
  const answer = client.messages.stream(question).finalMessage();
  await says("In bay 42.", async (claim, { promptTokens }) => {
    await claim.append({ type: "finished", reason: "stop", usage: { promptTokens, completionTokens: 7, cachedTokens: 5 } });
  });
  const { usage } = await answer;
  const { input_tokens } = await client.messages.countTokens(question);
  expect(usage).toMatchObject({ input_tokens: input_tokens - 5, cache_read_input_tokens: 5, output_tokens: 7 });
});

test("thoughts, text and uses of tools come as blocks, streamed and whole alike", async () => {
  const request = { ...question, tools, thinking: { type: "enabled" as const, budget_tokens: 1024 } };
  const whole = client.messages.create(request);
  const prompt = await says(CALLS);
  expect(prompt).toContain(
    '{"name": "find", "description": "d", "parameters": {"type": "object", "properties": {"bay": {"type": "number"}}}}',
  );
  expect(prompt.endsWith("<｜Assistant｜><think>")).toBe(true);
  const thoughts = (await api.tokenizer.encode("Bay, then.</think>")).length;
  const details = { output_tokens_details: { thinking_tokens: thoughts } };
  expect(await whole).toMatchObject({ stop_reason: "tool_use", usage: details });
  expect((await whole).content).toEqual(CALLS_CONTENT); // and no citations: @ai-sdk/anthropic takes null for no message at all

  const stream = client.messages.stream(request);
  const order: string[] = [];
  stream.on("streamEvent", ({ type }) => order.at(-1) !== type && order.push(type));
  const message = stream.finalMessage();
  await says(CALLS);
  expect(await message).toMatchObject({ stop_reason: "tool_use" });
  expect((await message).content).toEqual(CALLS_CONTENT);
  const block = ["content_block_start", "content_block_delta", "content_block_stop"];
  expect(order).toEqual(["message_start", ...block, ...block, ...block, ...block, "message_delta", "message_stop"]);
});

test("a conversation with tools becomes the model's own prompt, numbers and key order to the letter", async () => {
  const input = '{"bay":1.0,"10":"a","9":[2]}';
  const body = `{"model":"yardlog","max_tokens":9,"system":[{"type":"text","text":"Be brief."}],"tools":${JSON.stringify(tools)},"messages":[
    {"role":"user","content":[{"type":"text","text":"Where?","cache_control":{"type":"ephemeral"}}]},
    {"role":"assistant","content":[{"type":"thinking","thinking":"Hm.","signature":"x"},{"type":"text","text":"Let me look."},
      {"type":"tool_use","id":"a","name":"find","input":${input}},{"type":"tool_use","id":"b","name":"find","input":{}}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"second"},{"type":"image"}]},
      {"type":"tool_result","tool_use_id":"a","content":"first"},{"type":"text","text":"Well?"}]}],"thinking":{"type":"adaptive"}}`;
  const answer = fetch(`${api.url}/v1/messages`, { method: "POST", headers: { "content-type": "application/json" }, body });
  const prompt = await says("</think>42");
  expect((await answer).status).toBe(200);
  expect(prompt.startsWith("<｜begin▁of▁sentence｜>Be brief.\n\n## Tools")).toBe(true);
  expect(prompt.slice(prompt.indexOf("<｜User｜>"))).toBe(
    '<｜User｜>Where?<｜Assistant｜><think>Hm.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n' +
      '<｜DSML｜parameter name="bay" string="false">1.0</｜DSML｜parameter>\n<｜DSML｜parameter name="10" string="true">a</｜DSML｜parameter>\n' +
      '<｜DSML｜parameter name="9" string="false">[2]</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name="find">\n\n</｜DSML｜invoke>\n' +
      "</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>first</tool_result>\n\n<tool_result>second\n\n[Unsupported image]</tool_result>\n\nWell?" +
      "<｜Assistant｜><think>",
  );
});

test("a format is told to the model and the workers", async () => {
  const format = { type: "json_schema" as const, schema: { type: "object" } };
  const answer = client.messages.create({ ...question, output_config: { format } });
  const { constraint } = await playText(api, "{}");
  await answer;
  expect(constraint).toEqual({ schema: '{"type":"object"}' });
  const begun = { ...question, messages: [...question.messages, { role: "assistant" as const, content: "{" }] };
  await expect(client.messages.create({ ...begun, output_config: { format } })).rejects.toMatchObject({ status: 400 });
});

test("an assistant's last message is continued, not answered", async () => {
  const messages = [...question.messages, { role: "assistant" as const, content: "It is in bay" }];
  const answer = client.messages.create({ ...question, messages, thinking: { type: "adaptive" } });
  expect((await says(" 42.")).endsWith("<｜Assistant｜><think></think>It is in bay")).toBe(true);
  expect((await answer).content).toMatchObject([{ type: "text", text: " 42." }]);
});

test("an answer of no blocks may be handed back, and begins the next one where it is the last", async () => {
  const empty = client.messages.create(question);
  await playJob(api.bus, "yardlog", { ids: [api.tokenizer.ids.eos] });
  const { role, content } = await empty;
  expect(content).toEqual([]);
  const answer = client.messages.create({ ...question, messages: [...question.messages, { role, content }] });
  expect((await says("In bay 42.")).endsWith("Where is red-fox?<｜Assistant｜></think>")).toBe(true);
  expect((await answer).content).toMatchObject([{ text: "In bay 42." }]);
});

test("the input of a tool is what the model wrote, to the last digit, in a stream, in one piece and as the result of a job", async () => {
  const call = ["id", "x", "list"].map((name) => {
    const value = { id: "1234567890123456789", x: "2.50", list: "[1e400, -0]" }[name];
    return `<｜DSML｜parameter name="${name}" string="false">${value}</｜DSML｜parameter>\n`;
  });
  const calls = `\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n${call.join("")}<｜DSML｜parameter name="text" string="true">a"1</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>`;
  const ask = (stream: boolean) =>
    fetch(`${api.url}/v1/messages`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...question, tools, stream }),
    });
  const whole = ask(false);
  await says(calls);
  const response = await whole;
  expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
  const text = await response.text();
  const stream = ask(true);
  await says(calls);
  const events = (await (await stream).text()).matchAll(/^data: (.*input_json_delta.*)$/gm);
  const streamed = [...events].map(([, data]) => (JSON.parse(data!) as { delta: { partial_json: string } }).delta.partial_json).join("");
  const job = await (await fetch(`${api.url}/v1/jobs/${response.headers.get("x-job-id")}`)).text();
  expect(streamed).toContain('"id": 1234567890123456789, "x": 2.50, "list": [1e400, -0], "text": "a\\"1');
  expect(text).toContain(`"input":${streamed},`);
  expect(job).toContain(`"input":${streamed},`);
  expect(JSON.parse(text)).toMatchObject({ content: [{ type: "tool_use", name: "find", input: { x: 2.5, text: 'a"1' } }] });
});

test("the stop sequence that was found is named", async () => {
  const answer = client.messages.create({ ...question, stop_sequences: ["nowhere", " bay"] });
  await says("In bay 42.");
  expect(await answer).toMatchObject({ content: [{ text: "In" }], stop_reason: "stop_sequence", stop_sequence: " bay" });
});

test("a call that max_tokens cut off is shown as far as it came", async () => {
  const answer = client.messages.create({ ...question, tools });
  await says(CALLS.slice(CALLS.indexOf("Let"), CALLS.indexOf("42")), async (claim, { promptTokens }) => {
    await claim.append({ type: "finished", reason: "length", usage: { promptTokens, completionTokens: 7, cachedTokens: 0 } });
  });
  expect(await answer).toMatchObject({ stop_reason: "max_tokens", content: [{ type: "text" }, { input: { arguments: '{"bay": ' } }] });
});

test("pings tell how far the prompt is, and come by the clock while nothing happens", async () => {
  const response = await fetch(`${api.url}/v1/messages`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...question, stream: true }),
  });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const until = async (wanted: string) => {
    while (!text.includes(wanted)) text += (await reader.read()).value;
  };
  const ping = 'event: ping\ndata: {"type":"ping"}\n\n';
  await until(ping);
  expect(text).toMatch(/^event: message_start\ndata: \{"type":"message_start","message":\{"id":"msg_/);
  text = "";
  await until(ping.repeat(2)); // nobody took the job yet: these are the clock's
  await says("In bay 42.");
  await until("event: message_stop");
  expect(text).toMatch(/event: ping\nid: job_\w+:\d+\ndata: \{"type":"ping","prefill":\{"done":(\d+),"total":\1\}\}\n/);
});

test("a cut stream is continued by any reader behind the id it saw last", async () => {
  const answer = client.messages.create({ ...question, stream: true }).asResponse();
  await says(CALLS.slice(CALLS.indexOf("Let")));
  const response = await answer;
  const blocks = (await response.text()).split("\n\n").filter((block) => !block.includes("event: ping"));
  const jobId = response.headers.get("x-job-id")!;
  const ids = blocks.flatMap(
    (block, i) =>
      /^id: (.*)$/m
        .exec(block)
        ?.slice(1)
        .map((id) => ({ id, i })) ?? [],
  );
  expect(ids.length).toBeGreaterThan(10);
  for (const { id, i } of ids) {
    const rest = await (await fetch(`${api.url}/v1/jobs/${jobId}/stream`, { headers: { "last-event-id": id } })).text();
    expect(rest.split("\n\n").filter((block) => !block.includes("event: ping"))).toEqual(blocks.slice(i + 1));
  }
  expect(blocks.at(-2)).toContain("event: message_stop");
});

test("errors are Anthropic's, in every place", async () => {
  const failing = client.messages.stream(question).finalMessage();
  const outcome = failing.catch((error: unknown) => error);
  await says("In", async (claim) => void (await claim.append({ type: "failed", code: "INTERNAL", message: "secret" })));
  expect(await outcome).toMatchObject({
    type: "api_error",
    error: { type: "error", error: { message: expect.not.stringContaining("secret") } },
  });

  const invalid = { ...question, max_tokens: 0 };
  const error = await client.messages.create(invalid).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(Anthropic.BadRequestError);
  expect(error).toMatchObject({
    status: 400,
    type: "invalid_request_error",
    requestID: expect.stringMatching(/^req_/),
    error: { type: "error", error: { message: expect.stringContaining("max_tokens") }, request_id: expect.stringMatching(/^req_/) },
  });
  const unknown = await client.messages.create({ ...question, model: "claude" }).catch((error: unknown) => error);
  expect(unknown).toMatchObject({ status: 404, type: "not_found_error" });
});

test.each<[string, object, string]>([
  ["an image", { messages: [{ role: "user", content: [{ type: "image", source: {} }] }] }, "messages[0].content[0]"],
  [
    "a result in the assistant's mouth",
    { messages: [{ role: "assistant", content: [{ type: "tool_result", tool_use_id: "a" }] }] },
    "messages[0].content[0]",
  ],
  [
    "a use without its result",
    { messages: [{ role: "assistant", content: [{ type: "tool_use", id: "a", name: "f", input: {} }] }] },
    "messages[0].content[0]",
  ],
  ["a message of no blocks", { messages: [{ role: "user", content: [] }] }, "messages[0].content: must have at least one content block"],
  [
    "another beside one that asks",
    { messages: [...question.messages, { role: "assistant", content: "" }, { role: "user", content: [] }] },
    "messages[2].content: must have at least one content block",
  ],
  ["a tool the server would run", { tools: [{ type: "web_search_20250305", name: "web_search" }] }, "tools[0].type"],
  ["a choice of nothing", { tool_choice: { type: "any" } }, "tool_choice"],
  ["half a surrogate pair", { system: "\ud800" }, "messages"],
  ["more tokens than there are", { max_tokens: 2_000_000 }, "max_tokens"],
])("400 names the field: %s", async (_, changes, field) => {
  const body = JSON.stringify({ ...question, ...changes });
  const response = await fetch(`${api.url}/v1/messages`, { method: "POST", headers: { "content-type": "application/json" }, body });
  expect(response.status).toBe(400);
  const { error } = (await response.json()) as { error: { type: string; message: string } };
  expect(error.type).toBe("invalid_request_error");
  expect(error.message).toContain(field);
});

test("the key comes as x-api-key or as bearer; without one it is a 401", async () => {
  const closed = await testApi({ apiKeys: createHash("sha256").update("19").digest("hex") });
  const count = (options: object) =>
    new Anthropic({ baseURL: closed.url, maxRetries: 0, ...options }).messages.countTokens(question).catch((error: unknown) => error);
  try {
    expect(await count({ apiKey: "19" })).toMatchObject({ input_tokens: expect.any(Number) });
    expect(await count({ apiKey: null, authToken: "19" })).toMatchObject({ input_tokens: expect.any(Number) });
    expect(await count({ apiKey: "18" })).toMatchObject({ status: 401, type: "authentication_error" });
  } finally {
    await closed.close();
  }
});

test("a busy service is 529 and may be tried again", async () => {
  const busy = await testApi({ queueJobsMax: 0 });
  const error = await new Anthropic({ baseURL: busy.url, apiKey: "none", maxRetries: 0 }).messages
    .create(question)
    .catch((error: unknown) => error);
  expect(error).toMatchObject({ status: 529, type: "overloaded_error" });
  expect((error as { headers: Headers }).headers.get("retry-after")).toMatch(/^\d+$/);
  await busy.close();
});
