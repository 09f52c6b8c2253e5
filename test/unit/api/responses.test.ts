import OpenAI from "openai";
import type { ResponseInput, ResponseStreamEvent } from "openai/resources/responses/responses";
import { afterAll, beforeAll, expect, test } from "vitest";
import { playJob, type TestApi, testApi } from "../../support/api.ts";

let api: TestApi;
let client: OpenAI;
const clientOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

beforeAll(async () => {
  api = await testApi({ graceMs: 50 });
  client = clientOf(api.url);
});
afterAll(() => api.close());

const ask = { model: "yardlog", input: "Where is red-fox?" };
const find = { type: "function" as const, name: "find", description: "d", parameters: { type: "object", properties: {} }, strict: false };

/** What the model says next, and the prompt that it was said to. */
async function says(text: string, end?: Parameters<typeof playJob>[2]["end"]): Promise<string> {
  const ids = [...(await api.tokenizer.encode(text))];
  const { prompt } = await playJob(api.bus, "yardlog", { ids, ...(end === undefined ? {} : { end }) });
  return "ids" in prompt ? api.tokenizer.decode(prompt.ids) : "";
}

async function all(stream: AsyncIterable<ResponseStreamEvent>): Promise<ResponseStreamEvent[]> {
  const events: ResponseStreamEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

/** Each type once for every run of it. */
const order = (events: readonly ResponseStreamEvent[]) =>
  events.map(({ type }) => type.replace("response.", "")).filter((type, i, types) => type !== types[i - 1]);

const CALLS =
  'Bay, then.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="bay" string="false">2.50</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name="find">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
const CALLS_OUTPUT = [
  { type: "reasoning", id: expect.stringMatching(/^rs_\w{20}_0$/), summary: [], content: [{ type: "reasoning_text", text: "Bay, then." }] },
  {
    type: "message",
    id: expect.stringMatching(/^msg_\w{20}_1$/),
    role: "assistant",
    content: [{ type: "output_text", text: "Let me look." }],
  },
  {
    type: "function_call",
    id: expect.stringMatching(/^fc_\w{20}_2$/),
    call_id: expect.stringMatching(/_0$/),
    name: "find",
    arguments: '{"bay": 2.50}',
  },
  {
    type: "function_call",
    id: expect.stringMatching(/^fc_\w{20}_3$/),
    call_id: expect.stringMatching(/_1$/),
    name: "find",
    arguments: "{}",
  },
];
const callsRequest = { ...ask, tools: [find], reasoning: { effort: "high" as const } };

test("a response holds the text, the usage, and what was asked", async () => {
  const answer = client.responses.create({ ...ask, instructions: "Be brief.", metadata: { a: "b" }, max_output_tokens: 90 }).withResponse();
  const prompt = await says("In bay 42.");
  const { data, response } = await answer;
  expect(prompt).toBe("<｜begin▁of▁sentence｜>Be brief.<｜User｜>Where is red-fox?<｜Assistant｜></think>");
  expect(data).toMatchObject({
    id: `resp_${response.headers.get("x-job-id")!.slice(4)}`,
    object: "response",
    status: "completed",
    background: false,
    error: null,
    incomplete_details: null,
    model: "yardlog",
    instructions: "Be brief.",
    metadata: { a: "b" },
    max_output_tokens: 90,
    tools: [],
    output: [
      { type: "message", status: "completed", role: "assistant", content: [{ type: "output_text", text: "In bay 42.", annotations: [] }] },
    ],
    output_text: "In bay 42.",
    usage: {
      input_tokens: (await api.tokenizer.encode(prompt)).length,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: (await api.tokenizer.encode("In bay 42.")).length,
    },
  });
  const { input_tokens } = await client.responses.inputTokens.count({ ...ask, instructions: "Be brief." });
  expect(input_tokens).toBe(data.usage!.input_tokens);
  expect(data.completed_at).toBeGreaterThanOrEqual(data.created_at);
  expect(await client.responses.retrieve(data.id)).toEqual(data);
});

test("thoughts, text and calls of functions are items, streamed and whole alike; events come in their order, numbered without a gap", async () => {
  const whole = client.responses.create(callsRequest);
  const prompt = await says(CALLS);
  expect(prompt).toContain('{"name": "find", "description": "d", "parameters": {"type": "object", "properties": {}}}');
  expect(prompt.endsWith("<｜Assistant｜><think>")).toBe(true);
  expect(await whole).toMatchObject({ status: "completed", output: CALLS_OUTPUT });

  const stream = client.responses.create({ ...callsRequest, stream: true });
  const played = says(CALLS);
  const events = await all(await stream);
  await played;
  expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
  const item = (...inside: string[]) => ["output_item.added", ...inside, "output_item.done"];
  const part = (type: string) => ["content_part.added", `${type}.delta`, `${type}.done`, "content_part.done"];
  const call = ["function_call_arguments.delta", "function_call_arguments.done"];
  expect(order(events)).toEqual([
    ...["created", "in_progress"],
    ...item(...part("reasoning_text")),
    ...item(...part("output_text")),
    ...item(...call),
    ...item(...call),
    "completed",
  ]);
  expect((events.at(-1) as { response: object }).response).toMatchObject({ status: "completed", output: CALLS_OUTPUT });
});

test("the client's own helper puts the stream together to the response that is kept", async () => {
  const stream = client.responses.stream(callsRequest);
  const final = stream.finalResponse();
  await says(CALLS);
  const { id, output } = await final;
  const plain = (items: readonly object[]) => items.map(({ parsed_arguments: _, ...item }: { parsed_arguments?: unknown }) => item);
  expect(plain((await client.responses.retrieve(id)).output)).toMatchObject(
    plain(output).map((item) => ("content" in item ? { ...item, content: expect.anything() } : item)),
  );
});

test("from behind any event on, any replica tells exactly the rest", async () => {
  const other = await testApi({}, api.bus);
  try {
    const stream = client.responses.create({ ...callsRequest, stream: true });
    const played = says(CALLS);
    const events = await all(await stream);
    await played;
    const { id } = (events[0] as { response: { id: string } }).response;
    const elsewhere = clientOf(other.url);
    expect(await all(await elsewhere.responses.retrieve(id, { stream: true }))).toEqual(events);
    for (let n = 0; n < events.length; n++)
      expect(await all(await elsewhere.responses.retrieve(id, { stream: true, starting_after: n })), `after ${n}`).toEqual(
        events.slice(n + 1),
      );
    await expect(elsewhere.responses.retrieve(id, { stream: true, starting_after: -1 })).rejects.toMatchObject({
      status: 400,
      param: "starting_after",
    });
  } finally {
    await other.close();
  }
});

test("in the background: queued at once, in progress without readers, completed in the record", async () => {
  const queued = await client.responses.create({ ...ask, background: true });
  expect(queued).toMatchObject({ status: "queued", background: true, output: [], usage: null });
  const events = all(await client.responses.retrieve(queued.id, { stream: true }));
  let during: OpenAI.Responses.Response | undefined;
  await says("In bay 42.", async (claim, { promptTokens }) => {
    during = await client.responses.retrieve(queued.id);
    await claim.append({ type: "finished", reason: "length", usage: { promptTokens, completionTokens: 5, cachedTokens: 2 } });
  });
  expect(during).toMatchObject({ status: "in_progress", output: [{ status: "in_progress" }], completed_at: null });
  const done = await client.responses.retrieve(queued.id);
  expect(done).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    output: [{ status: "incomplete" }],
    usage: { input_tokens_details: { cached_tokens: 2 } },
  });
  expect(order(await events).slice(0, 4)).toEqual(["created", "queued", "in_progress", "output_item.added"]);
  expect(order(await events).at(-1)).toBe("incomplete");
});

test("a response in the background is cancelled, once and again, and then deleted", async () => {
  const { id } = await client.responses.create({ ...ask, background: true });
  const events = all(await client.responses.retrieve(id, { stream: true }));
  await expect(client.responses.delete(id)).rejects.toMatchObject({ status: 409 });
  expect(await client.responses.cancel(id)).toMatchObject({ id, status: "cancelled", error: null });
  expect(await client.responses.cancel(id)).toMatchObject({ id, status: "cancelled" });
  expect((await events).at(-1)).toMatchObject({ type: "response.failed", response: { status: "cancelled" } });
  await client.responses.delete(id);
  await expect(client.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
});

test("a response whose job failed says so: by status to whoever waits, in band to readers of the stream, in the object afterwards", async () => {
  const fails: Parameters<typeof says>[1] = async (claim) =>
    void (await claim.append({ type: "failed", code: "INTERNAL", message: "secret" }));
  const waiting = expect(client.responses.create(ask)).rejects.toMatchObject({ status: 500 });
  await says("In bay", fails);
  await waiting;
  const stream = client.responses.create({ ...ask, stream: true });
  const played = says("In bay", fails);
  const events = await all(await stream);
  await played;
  const failed = { status: "failed", error: { code: "server_error" }, output: [{ status: "incomplete" }] };
  expect(events.at(-1)).toMatchObject({ type: "response.failed", response: failed });
  expect(JSON.stringify(events)).not.toContain("secret");
  const { id } = (events[0] as { response: { id: string } }).response;
  expect(await client.responses.retrieve(id)).toMatchObject(failed);
});

test("a replica that stops ends the stream with an error, not with the response's end", async () => {
  const other = await testApi({}, api.bus);
  const { id } = await client.responses.create({ ...ask, background: true });
  const stream = await fetch(`${other.url}/v1/responses/${id}?stream=true`);
  await other.close();
  const events = (await stream.text()).split("\n\n").filter((block) => block.startsWith("event: "));
  expect(events.at(-1)).toContain('event: error\ndata: {"type":"error","sequence_number":2,"code":"shutting_down"');
  await client.responses.cancel(id);
});

test("a conversation goes on from the record: thoughts, calls and results as they were, on any replica", async () => {
  const first = client.responses.create(callsRequest);
  await says(CALLS);
  const { id, output } = await first;
  const call = (n: number) => (output[2 + n] as { call_id: string }).call_id;
  const results: ResponseInput = [
    { type: "function_call_output", call_id: call(1), output: [{ type: "input_text", text: "second" }] },
    { type: "function_call_output", call_id: call(0), output: "first" },
  ];
  const second = client.responses.create({ ...callsRequest, previous_response_id: id, input: results });
  const prompt = await says("42, then.</think>In bay 42.");
  const turn =
    'Bay, then.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="bay" string="false">2.50</｜DSML｜parameter>\n' +
    '</｜DSML｜invoke>\n<｜DSML｜invoke name="find">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>';
  const conversation = `<｜User｜>Where is red-fox?<｜Assistant｜><think>${turn}<｜User｜><tool_result>first</tool_result>\n\n<tool_result>second</tool_result>`;
  expect(prompt.slice(prompt.indexOf("<｜User｜>"))).toBe(`${conversation}<｜Assistant｜><think>`);
  const answered = await second;
  expect(answered.previous_response_id).toBe(id);

  const replayed = client.responses.create({
    ...callsRequest,
    store: false,
    input: [{ role: "user", content: ask.input }, ...(output as ResponseInput), ...results],
  });
  expect(await says("Yes.")).toBe(prompt);
  await replayed;
  const referred = output.map((item) => ({ type: "item_reference" as const, id: item.id! }));
  const byReference = client.responses.create({
    ...callsRequest,
    store: false,
    input: [{ role: "user", content: ask.input }, ...referred, ...results],
  });
  expect(await says("Yes.")).toBe(prompt);
  await byReference;

  await client.responses.delete(id);
  const third = client.responses.create({ ...callsRequest, previous_response_id: answered.id, input: "Sure?" });
  const long = await says("Yes.");
  await third;
  const writtenAnew = conversation.replace(">2.50<", ">2.5<"); // the log that knows better is gone
  expect(long.slice(long.indexOf("<｜User｜>"))).toBe(
    `${writtenAnew}<｜Assistant｜><think>42, then.</think>In bay 42.<｜end▁of▁sentence｜><｜User｜>Sure?<｜Assistant｜><think>`,
  );
  const listed = [];
  for await (const item of client.responses.inputItems.list(answered.id, { limit: 2, order: "asc" })) listed.push(item.type);
  expect(listed).toEqual([
    "message",
    "reasoning",
    "message",
    "function_call",
    "function_call",
    "function_call_output",
    "function_call_output",
  ]);
});

test("reasoning comes back from clients that keep no more than its opaque form", async () => {
  const first = client.responses.create({ ...callsRequest, store: false, include: ["reasoning.encrypted_content"] });
  await says(CALLS);
  const { output } = await first;
  const opaque = output.map((item) => (item.type === "reasoning" ? { ...item, content: undefined } : item)) as ResponseInput;
  const results = output.flatMap((item) =>
    item.type === "function_call" ? [{ type: "function_call_output" as const, call_id: item.call_id, output: "r" }] : [],
  );
  const next = client.responses.create({ ...callsRequest, input: [{ role: "user", content: "Where?" }, ...opaque, ...results] });
  expect(await says("Yes.")).toContain("<think>Bay, then.</think>Let me look.");
  await next;
});

test("what is large lies beside the log and goes with the job", async () => {
  const instructions = "i".repeat(30_000);
  const input = "container ".repeat(2_600);
  const { id } = await client.responses.create({ ...ask, instructions, input, background: true });
  expect((await client.responses.retrieve(id)).instructions).toBe(instructions);
  const jobId = id.replace("resp_", "job_");
  for (const name of ["echo", "input"]) expect(await api.bus.payloads.get(`${jobId}.${name}`), name).not.toBeNull();
  await says("Yes.");
  const { data } = await client.responses.inputItems.list(id);
  expect(data).toMatchObject([{ type: "message", role: "user", content: [{ type: "input_text", text: input }] }]);
  const next = client.responses.create({ ...ask, previous_response_id: id });
  expect(await says("Yes.")).toContain(`<｜User｜>${input}<｜Assistant｜></think>Yes.<｜end▁of▁sentence｜><｜User｜>Where is red-fox?`);
  await next;
  await client.responses.delete(id);
  for (const name of ["echo", "input"]) expect(await api.bus.payloads.get(`${jobId}.${name}`), name).toBeNull();
});

test("a format is told to the model and the workers, and is echoed", async () => {
  const format = { type: "json_schema" as const, name: "n", schema: { type: "object" }, strict: true };
  const answer = client.responses.create({ ...ask, text: { format } });
  const ids = [...(await api.tokenizer.encode("{}"))];
  const { prompt, constraint } = await playJob(api.bus, "yardlog", { ids });
  expect((await answer).text).toEqual({ format });
  expect(constraint).toEqual({ schema: '{"type":"object"}' });
  const text = "ids" in prompt ? await api.tokenizer.decode(prompt.ids) : "";
  expect(text).toContain('to reply:\n{"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}<');
});

test("what was not to be stored is neither retrieved nor continued", async () => {
  const answer = client.responses.create({ ...ask, store: false });
  await says("In bay 42.");
  const { id } = await answer;
  await expect(client.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
  const continued = client.responses.create({ ...ask, previous_response_id: id });
  await expect(continued).rejects.toMatchObject({ status: 400, code: "previous_response_not_found", param: "previous_response_id" });
});

const call = { type: "function_call", call_id: "a", name: "f", arguments: "{}" };
const refused: readonly (readonly [string, object, string])[] = [
  ["background without store", { background: true, store: false }, "background"],
  ["an image", { input: [{ role: "user", content: [{ type: "input_image", image_url: "x" }] }] }, "input[0].content[0].type"],
  ["an unknown item", { input: [{ type: "computer_call" }] }, "input[0].type"],
  ["a result of no call", { input: [{ type: "function_call_output", call_id: "b", output: "" }] }, "input[0].call_id"],
  ["an end that asks nothing", { input: [{ role: "user", content: "u" }, call] }, "input"],
  ["nothing", { input: [], instructions: "i" }, "input"],
  ["more than fits", { max_output_tokens: 2_000_000 }, "max_output_tokens"],
  ["a reference to nothing", { input: [{ id: "msg_00000000000000000000_0" }] }, "input[0].id"],
  ["a tool that we would have to run", { tools: [{ type: "web_search" }] }, "tools[0].type"],
  ["a forced call of nothing", { tool_choice: "required" }, "tool_choice"],
  ["a format nobody knows", { text: { format: { type: "yaml" } } }, "text.format.type"],
  ["a pattern", { text: { format: { type: "json_schema", name: "n", schema: { type: "string", pattern: "a" } } } }, "text.format.schema"],
  ["a shortened input", { truncation: "auto" }, "truncation"],
  ["log probabilities", { include: ["message.output_text.logprobs"] }, "include[0]"],
  ["a conversation", { conversation: "conv_1" }, "conversation"],
  ["no number", { max_output_tokens: "5" }, "max_output_tokens"],
];
test.each(refused)("%s is refused by name", async (_, fields, param) => {
  await expect(client.responses.create({ ...ask, ...fields } as never)).rejects.toMatchObject({ status: 400, param });
});
