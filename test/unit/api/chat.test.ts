import { afterAll, beforeAll, expect, test } from "vitest";
import { parseEvents } from "../../../services/cli/server-events.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { playJob, promptOf, type TestApi, testApi } from "../../support/api.ts";
import { decode } from "../../support/decode.ts";

const TEXT = "Container red-fox is stowed in bay 42.";
let api: TestApi;
let ids: number[];

beforeAll(async () => {
  api = await testApi({ graceMs: 50 });
  ids = [...(await api.tokenizer.encode(TEXT))];
});
afterAll(() => api.close());

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(api.url + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });

const chat = (extra: object = {}) => ({ model: "yardlog", messages: [{ role: "user", content: "Where is red-fox?" }], ...extra });

async function events(response: Response): Promise<{ name: string; data: string }[]> {
  const all: { name: string; data: string }[] = [];
  for await (const event of parseEvents(response.body!.pipeThrough(new TextDecoderStream()))) all.push(event);
  return all;
}

test("a chat completion holds the text of the logged ids, their usage, and ids of the job", async () => {
  const answer = post("/v1/chat/completions", chat());
  const request = await playJob(api.bus, "yardlog", { ids });
  const response = await answer;
  expect(response.status).toBe(200);
  expect(response.headers.get("x-request-id")).toMatch(/^req_/);
  const jobId = response.headers.get("x-job-id")!;
  expect(await response.json()).toMatchObject({
    id: `chatcmpl-${jobId.slice(4)}`,
    object: "chat.completion",
    model: "yardlog",
    choices: [{ index: 0, message: { role: "assistant", content: TEXT }, finish_reason: "stop" }],
    usage: {
      prompt_tokens: request.promptTokens,
      completion_tokens: ids.length,
      total_tokens: request.promptTokens + ids.length,
      prompt_cache_hit_tokens: 0,
    },
  });
});

test("the prompt is that of the chat encoding, thinking off, and the model's own sampling applies", async () => {
  const answer = post("/v1/chat/completions", chat());
  const request = await playJob(api.bus, "yardlog", { ids });
  await answer;
  const prompt = "ids" in request.prompt ? decode(api.tokenizer, request.prompt.ids) : "";
  expect(prompt).toBe("<｜begin▁of▁sentence｜><｜User｜>Where is red-fox?<｜Assistant｜></think>");
  expect(request.sampling.temperature).toBe(0);
});

test("a form to answer in is told to the model and to the workers, behind the reasoning if there is any", async () => {
  const schema = { type: "object", properties: { bay: { type: "integer" } }, required: ["bay"], additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "place", strict: true, schema } };
  for (const thinking of ["disabled", "enabled"]) {
    const answer = post("/v1/chat/completions", chat({ response_format, thinking: { type: thinking } }));
    const { prompt, constraint } = await playJob(api.bus, "yardlog", { ids });
    await answer;
    const after = api.tokenizer.ids.thinkEnd;
    expect(constraint).toEqual({ schema: JSON.stringify(schema), ...(thinking === "enabled" && { after }) });
    const text = "ids" in prompt ? decode(api.tokenizer, prompt.ids) : "";
    expect(text).toContain('strictly adhere to the following schema to reply:\n{"type": "json_schema", "json_schema": {"name": "place", ');
  }
});

test("a stream opens with the role, carries the text in order, ends with reason, usage and [DONE]", async () => {
  const answer = post("/v1/chat/completions", chat({ stream: true, stream_options: { include_usage: true } }));
  await playJob(api.bus, "yardlog", { ids });
  const response = await answer;
  expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  const all = await events(response);
  expect(all.at(-1)!.data).toBe("[DONE]");
  const chunks = all.slice(0, -1).map(({ data }) => JSON.parse(data));
  expect(chunks[0].choices[0].delta).toEqual({ role: "assistant", content: "" });
  expect(
    chunks
      .slice(1, -2)
      .map((chunk) => chunk.choices[0].delta.content)
      .join(""),
  ).toBe(TEXT);
  expect(chunks.at(-2).choices[0]).toMatchObject({ delta: {}, finish_reason: "stop" });
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: ids.length } });
  expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
  expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
});

test.each([[{ include_usage: true }], [{ include_usage: false }], [undefined]])(
  "from any id on, a resumed stream brings exactly the rest: %j",
  async (stream_options) => {
    const answer = post("/v1/chat/completions", chat({ stream: true, stream_options }));
    await playJob(api.bus, "yardlog", { ids });
    const response = await answer;
    const jobId = response.headers.get("x-job-id")!;
    const blocksOf = (text: string) => text.split("\n\n").filter((block) => !block.startsWith(":"));
    const whole = blocksOf(await response.text());
    const afters = whole.flatMap((block, i) => {
      const id = /^id: (.*)$/m.exec(block)?.[1];
      return id === undefined ? [] : [{ id, i }];
    });
    expect(afters.length).toBeGreaterThan(3);
    for (const { id, i } of afters) {
      const rest = await (await fetch(`${api.url}/v1/jobs/${jobId}/stream`, { headers: { "last-event-id": id } })).text();
      expect(blocksOf(rest), `after ${id}`).toEqual(whole.slice(i + 1));
    }
    for (const id of ["job_00000000000000000000:7", `${jobId}:x`, ""]) {
      const refused = await fetch(`${api.url}/v1/jobs/${jobId}/stream`, { headers: { "last-event-id": id } });
      expect(refused.status, `after "${id}"`).toBe(400);
    }
    const beyond = await fetch(`${api.url}/v1/jobs/${jobId}/stream?after=999999`);
    expect(beyond.headers.get("x-request-id")).toMatch(/^req_/);
    expect(await beyond.text()).toBe("data: [DONE]\n\n");
  },
);

test("a job ends when its request says, and no later than the operator allows", async () => {
  const { deadlineSeconds } = loadConfig({});
  for (const [asked, granted] of [
    [{}, deadlineSeconds],
    [{ deadline_seconds: 500 }, 500],
    [{ deadline_seconds: 2 * deadlineSeconds }, deadlineSeconds],
  ] as const) {
    const beganMs = Date.now();
    const answer = post("/v1/chat/completions", chat(asked));
    const { deadlineMs } = await playJob(api.bus, "yardlog", { ids });
    await answer;
    const fromMs = deadlineMs - 1_000 * granted;
    expect(fromMs >= beganMs && fromMs <= Date.now(), JSON.stringify(asked)).toBe(true);
  }
});

test("reasoning and content are told apart when thinking is asked for", async () => {
  const thought = [...(await api.tokenizer.encode("Bay.</think>42"))];
  const answer = post("/v1/chat/completions", chat({ thinking: { type: "enabled" } }));
  await playJob(api.bus, "yardlog", { ids: thought });
  const { choices, usage } = (await (await answer).json()) as { choices: { message: object }[]; usage: object };
  expect(choices[0]!.message).toMatchObject({ reasoning_content: "Bay.", content: "42" });
  const thoughts = (await api.tokenizer.encode("Bay.</think>")).length;
  expect(usage).toMatchObject({ completion_tokens: thought.length, completion_tokens_details: { reasoning_tokens: thoughts } });
});

test("tools reach the prompt to the letter, and a call comes back as one", async () => {
  const schema = '{"name":"get","description":"d","parameters":{"limit":1.0,"10":1,"9":2}}';
  const body = `{"model":"yardlog","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":${schema}}]}`;
  const block =
    '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get">\n<｜DSML｜parameter name="n" string="false">2.50</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
  for (const [path, text] of [
    ["/v1/chat/completions", body],
    ["/v1/jobs", `{"kind":"chat","request":${body}}`],
  ] as const) {
    const answer = fetch(api.url + path, { method: "POST", headers: { "content-type": "application/json" }, body: text });
    const request = await playJob(api.bus, "yardlog", { ids: [...(await api.tokenizer.encode(block))] });
    const prompt = "ids" in request.prompt ? decode(api.tokenizer, request.prompt.ids) : "";
    expect(prompt).toContain('{"name": "get", "description": "d", "parameters": {"limit": 1.0, "10": 1, "9": 2}}');
    const response = await answer;
    const jobId = response.headers.get("x-job-id");
    const { result } = (await (await fetch(`${api.url}/v1/jobs/${jobId}`)).json()) as { result: { choices: object[] } };
    expect(result.choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: { content: null, tool_calls: [{ type: "function", function: { name: "get", arguments: '{"n": 2.50}' } }] },
    });
  }
});

test("arguments that a client hands back as an object stand in the prompt to the last digit", async () => {
  const calls = '[{"type":"function","function":{"name":"get","arguments":{"id":1234567890123456789,"x":2.0}}}]';
  const body = `{"model":"yardlog","messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":${calls}},{"role":"tool","content":"1"}]}`;
  const answer = fetch(`${api.url}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
  const prompt = await promptOf(api, await playJob(api.bus, "yardlog", { ids }));
  expect((await answer).status).toBe(200);
  expect(prompt).toContain('<｜DSML｜parameter name="id" string="false">1234567890123456789</｜DSML｜parameter>');
  expect(prompt).toContain('<｜DSML｜parameter name="x" string="false">2.0</｜DSML｜parameter>');
});

test("a stop string ends the text where it begins", async () => {
  const answer = post("/v1/chat/completions", chat({ stop: [" bay"] }));
  await playJob(api.bus, "yardlog", { ids });
  const { choices } = (await (await answer).json()) as { choices: { message: { content: string } }[] };
  expect(choices[0]!.message.content).toBe("Container red-fox is stowed in");
});

test("a job that fails tells whole readers by status and stream readers in band", async () => {
  const failing = {
    ids,
    end: async (claim: { append: (event: { type: "failed"; code: string; message: string }) => Promise<unknown> }) =>
      void (await claim.append({ type: "failed", code: "INTERNAL", message: "broken" })),
  };
  const whole = post("/v1/chat/completions", chat());
  await playJob(api.bus, "yardlog", failing);
  expect((await whole).status).toBe(500);
  const streamed = post("/v1/chat/completions", chat({ stream: true }));
  await playJob(api.bus, "yardlog", failing);
  const all = await events(await streamed);
  expect(JSON.parse(all.at(-1)!.data)).toMatchObject({ error: { type: "server_error", code: "internal", param: null } });
});

test("a completion takes text or ids and gives text", async () => {
  for (const prompt of ["Yard log.", [...(await api.tokenizer.encode("Yard log."))]]) {
    const answer = post("/v1/completions", { model: "yardlog", prompt, max_tokens: 50 });
    const request = await playJob(api.bus, "yardlog", { ids });
    expect("ids" in request.prompt && [...request.prompt.ids]).toEqual([...(await api.tokenizer.encode("Yard log."))]);
    expect(await (await answer).json()).toMatchObject({ object: "text_completion", choices: [{ text: TEXT, finish_reason: "stop" }] });
  }
});

test("the same Idempotency-Key joins the same job; with another body it is a conflict", async () => {
  const headers = { "idempotency-key": "once" };
  const [first, second] = [post("/v1/chat/completions", chat(), headers), post("/v1/chat/completions", chat(), headers)];
  await playJob(api.bus, "yardlog", { ids });
  const jobs = (await Promise.all([first, second])).map((response) => response.headers.get("x-job-id"));
  expect(jobs[0]).toBe(jobs[1]);
  const other = await post("/v1/chat/completions", chat({ max_tokens: 5 }), headers);
  expect(other.status).toBe(409);
});

test("a job is cancelled once its only reader has been gone for the grace", async () => {
  const leave = new AbortController();
  const answer = fetch(`${api.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(chat({ stream: true })),
    signal: leave.signal,
  });
  const jobId = (await answer).headers.get("x-job-id")!;
  leave.abort();
  const types: string[] = [];
  for await (const { event } of api.bus.log.follow(jobId, 0, AbortSignal.timeout(20_000))) types.push(event.type);
  expect(types).toEqual(["submitted", "cancelled"]);
  const message = await api.bus.queue.pull("prefill", "yardlog", 1_000, AbortSignal.timeout(20_000));
  message?.ack();
});
