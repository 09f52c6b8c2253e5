import { expect, test } from "vitest";
import { playText, promptOf } from "../../../support/api.ts";
import { collect } from "../../../support/bus.ts";
import { freshClients } from "../../../support/clients.ts";
import { ask, CALLS, CALLS_OUTPUT, callsRequest, order } from "../../../support/responses.ts";

const run = freshClients({ graceMs: 50 });
const { says } = run;

test("a response holds the text, the usage, and what was asked", async () => {
  const answer = run.openai.responses
    .create({ ...ask, instructions: "Be brief.", metadata: { a: "b" }, max_output_tokens: 90 })
    .withResponse();
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
      input_tokens: (await run.api.tokenizer.encode(prompt)).length,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: (await run.api.tokenizer.encode("In bay 42.")).length,
    },
  });
  const { input_tokens } = await run.openai.responses.inputTokens.count({ ...ask, instructions: "Be brief." });
  expect(input_tokens).toBe(data.usage!.input_tokens);
  expect(data.completed_at).toBeGreaterThanOrEqual(data.created_at);
  expect(await run.openai.responses.retrieve(data.id)).toEqual(data);
});

test("tools are repeated with the numbers that were sent, whole, streamed and from the record", async () => {
  const parameters = '{"const":9007199254740993,"enum":[-18446744073709551617,"9"],"minimum":1.5}';
  const tool = (name: string) => `{"type":"function","name":"${name}","parameters":${parameters}}`;
  const sent = `[${tool("f")},{"type":"namespace","name":"n","tools":[${tool("g")}]}]`;
  const post = async (stream: boolean) => {
    const body = `{"model":"yardlog","input":"Where?","stream":${stream},"tools":${sent}}`;
    const answer = fetch(`${run.api.url}/v1/responses`, { method: "POST", headers: { "content-type": "application/json" }, body });
    await says("Here.");
    return answer;
  };
  const times = (text: string) => text.split(`"parameters":${parameters},"description":null,"strict":false`).length - 1;
  const whole = await post(false);
  expect(times(await whole.text())).toBe(2);
  expect(times(await (await post(true)).text()), "in three of its events").toBe(6);
  const jobId = whole.headers.get("x-job-id")!;
  for (const path of [`/v1/responses/resp_${jobId.slice(4)}`, `/v1/jobs/${jobId}`])
    expect(times(await (await fetch(run.api.url + path)).text()), path).toBe(2);
});

test("a number without end in a tool is null where it is repeated, as it was", async () => {
  const tools = '[{"type":"function","name":"f","parameters":{"maximum":1e400,"const":9007199254740993}}]';
  const body = `{"model":"yardlog","input":"Where?","tools":${tools}}`;
  const answer = fetch(`${run.api.url}/v1/responses`, { method: "POST", headers: { "content-type": "application/json" }, body });
  await says("Here.");
  expect(await (await answer).json()).toMatchObject({ tools: [{ parameters: { maximum: null, const: 2 ** 53 } }] });
});

test("thoughts, text and calls of functions are items, streamed and whole alike; events come in their order, numbered without a gap", async () => {
  const whole = run.openai.responses.create(callsRequest);
  const prompt = await says(CALLS);
  expect(prompt).toContain('{"name": "find", "description": "d", "parameters": {"type": "object", "properties": {}}}');
  expect(prompt.endsWith("<｜Assistant｜><think>")).toBe(true);
  expect(await whole).toMatchObject({ status: "completed", output: CALLS_OUTPUT });

  const stream = run.openai.responses.create({ ...callsRequest, stream: true });
  const played = says(CALLS);
  const events = await collect(await stream);
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
  const stream = run.openai.responses.stream(callsRequest);
  const final = stream.finalResponse();
  await says(CALLS);
  const { id, output } = await final;
  const plain = (items: readonly object[]) => items.map(({ parsed_arguments: _, ...item }: { parsed_arguments?: unknown }) => item);
  expect(plain((await run.openai.responses.retrieve(id)).output)).toMatchObject(
    plain(output).map((item) => ("content" in item ? { ...item, content: expect.anything() } : item)),
  );
});

test("a format is told to the model and the workers, and is echoed", async () => {
  const format = { type: "json_schema" as const, name: "n", schema: { type: "object" }, strict: true };
  const answer = run.openai.responses.create({ ...ask, text: { format } });
  const request = await playText(run.api, "{}");
  expect((await answer).text).toEqual({ format });
  expect(request.constraint).toEqual({ schema: '{"type":"object"}' });
  expect(await promptOf(run.api, request)).toContain(
    'to reply:\n{"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}<',
  );
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
  [
    "a look-ahead",
    { text: { format: { type: "json_schema", name: "n", schema: { type: "string", pattern: "(?=a)" } } } },
    "text.format.schema",
  ],
  ["log probabilities", { include: ["message.output_text.logprobs"] }, "include[0]"],
  ["what no answer has", { include: ["reasoning.encrypted_content", "thoughts"] }, "include[1]"],
  ["a conversation", { conversation: "conv_1" }, "conversation"],
  ["no number", { max_output_tokens: "5" }, "max_output_tokens"],
];
test.each(refused)("%s is refused by name", async (_, fields, param) => {
  await expect(run.openai.responses.create({ ...ask, ...fields } as never)).rejects.toMatchObject({ status: 400, param });
});
