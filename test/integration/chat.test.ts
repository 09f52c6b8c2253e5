import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { decode } from "../support/decode.ts";

let cluster: Served;
let client: OpenAI;

beforeAll(async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_SEGMENT_TOKENS: "128", LONGSHORE_CHUNK_TOKENS: "256", LONGSHORE_PORT: "0" };
  cluster = await serveEmbedded(loadConfig(settings), silentLog);
  client = new OpenAI({ baseURL: `${cluster.api.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => cluster.stop());

const ask = {
  model: "yardlog",
  messages: [{ role: "user" as const, content: "Where is red-fox? ".repeat(30) }],
  max_tokens: 24,
  temperature: 1,
};

async function streamed(request: OpenAI.ChatCompletionCreateParamsNonStreaming) {
  const all: { content: string; tokens: OpenAI.ChatCompletionTokenLogprob[]; reason: string | null }[] = [];
  for await (const { choices } of await client.chat.completions.create({ ...request, stream: true })) {
    for (const { index, delta, logprobs, finish_reason } of choices) {
      all[index] ??= { content: "", tokens: [], reason: null };
      all[index].content += delta.content ?? "";
      all[index].tokens.push(...(logprobs?.content ?? []));
      all[index].reason ??= finish_reason;
    }
  }
  return all;
}

test("n answers: each is what the request alone with its seed answers, in one piece and streamed", async () => {
  const request = { ...ask, n: 4, seed: 11 };
  const { choices, usage } = await client.chat.completions.create(request);
  expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  const alone = [];
  for (let i = 0; i < 4; i++) alone.push(await client.chat.completions.create({ ...ask, seed: 11 + i }));
  expect(choices.map(({ message }) => message.content)).toEqual(alone.map((one) => one.choices[0]!.message.content));
  expect(new Set(choices.map(({ message }) => message.content)).size).toBe(4);
  expect(usage).toMatchObject({
    prompt_tokens: alone[0]!.usage!.prompt_tokens,
    completion_tokens: alone.reduce((sum, one) => sum + one.usage!.completion_tokens, 0),
  });
  expect((await streamed(request)).map(({ content }) => content)).toEqual(choices.map(({ message }) => message.content));
});

test("an answer in JSON, held to a schema or to none, in one piece and streamed", async () => {
  const schema = {
    type: "object",
    properties: { bay: { type: "integer", minimum: 1, maximum: 60 }, state: { enum: ["stowed", "lost"] } },
    required: ["bay", "state"],
    additionalProperties: false,
  };
  const response_format = { type: "json_schema" as const, json_schema: { name: "place", strict: true, schema } };
  const request = { ...ask, max_tokens: 400, n: 3, seed: 4, response_format };
  const { choices } = await client.chat.completions.create(request);
  for (const { message, finish_reason } of choices) {
    expect(finish_reason).toBe("stop");
    expect(JSON.parse(message.content!)).toEqual({ bay: expect.any(Number), state: expect.stringMatching(/^(stowed|lost)$/) });
  }
  expect((await streamed(request)).map(({ content }) => content)).toEqual(choices.map(({ message }) => message.content));
  const free = await client.chat.completions.create({ ...ask, max_tokens: 30, response_format: { type: "json_object" } });
  expect(free.choices[0]!.message.content).toMatch(/^\{/);
});

test("log probabilities: one entry for each token, spelled so that they make the text, the same for every reader", async () => {
  const request = { ...ask, seed: 5, logprobs: true, top_logprobs: 3 };
  const { data, response } = await client.chat.completions.create(request).withResponse();
  const [choice] = data.choices;
  const tokens = choice!.logprobs!.content!;
  expect(tokens).toHaveLength(data.usage!.completion_tokens);
  expect(Buffer.from(tokens.flatMap(({ bytes }) => bytes!)).toString("utf8")).toBe(choice!.message.content);
  for (const { logprob, top_logprobs } of tokens) {
    expect(top_logprobs).toHaveLength(3);
    expect(top_logprobs[0]!.logprob).toBeGreaterThanOrEqual(logprob);
    expect(top_logprobs.map((top) => top.logprob)).toEqual(top_logprobs.map((top) => top.logprob).toSorted((a, b) => b - a));
  }
  const [stream] = await streamed(request);
  expect(stream).toEqual({ content: choice!.message.content, tokens, reason: choice!.finish_reason });
  const job = await fetch(`${cluster.api.url}/v1/jobs/${response.headers.get("x-job-id")}`);
  expect(((await job.json()) as { result: OpenAI.ChatCompletion }).result.choices[0]!.logprobs).toEqual(choice!.logprobs);
  expect((await client.chat.completions.create(ask)).choices[0]!.logprobs).toBeNull();
});

test("a completion's log probabilities say where each token begins", async () => {
  const { choices, usage } = await client.completions.create({ model: "yardlog", prompt: "Yard", max_tokens: 16, seed: 1, logprobs: 2 });
  const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0]!.logprobs!;
  expect([tokens, token_logprobs, top_logprobs, text_offset].map((list) => list!.length)).toEqual(Array(4).fill(usage!.completion_tokens));
  expect(text_offset).toEqual(tokens!.map((_, i) => [...tokens!.slice(0, i).join("")].length));
  expect(tokens!.some((token) => token !== "")).toBe(true);
});

test("a bias forces a token and penalties forbid to repeat it", async () => {
  const id = [...(await cluster.cluster.opened.tokenizer.encode("bay"))][0]!;
  const spelled = decode(cluster.cluster.opened.tokenizer, [id]);
  const forced = { ...ask, temperature: 0, max_tokens: 5, logit_bias: { [id]: 100 } };
  expect((await client.chat.completions.create(forced)).choices[0]!.message.content).toBe(spelled.repeat(5));
  const request = { ...ask, temperature: 0, max_tokens: 200, presence_penalty: 2, frequency_penalty: 2, logprobs: true };
  const count = async (penalties: object) => {
    const { choices } = await client.chat.completions.create({ ...request, ...penalties });
    const tokens = choices[0]!.logprobs!.content!.map(({ bytes }) => String(bytes));
    return tokens.length - new Set(tokens).size;
  };
  const forbidden = await count({});
  expect(forbidden).toBeLessThan(await count({ presence_penalty: -2, frequency_penalty: -2 }));
});
