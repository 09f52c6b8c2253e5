import Anthropic from "@anthropic-ai/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";

const serve = (settings: NodeJS.ProcessEnv) => serveEmbedded(loadConfig({ LONGSHORE_PORT: "0", ...settings }), silentLog);
const clientOf = ({ api }: Served) => new Anthropic({ baseURL: api.url, apiKey: "none", maxRetries: 0 });

const log =
  "Yard log.\nContainer rustic-tulip is stowed in bay 42. Container rustic-tulip is bound for Sydney. The foreman confirms a quiet hour.";
const ask = (question: string) => [{ role: "user" as const, content: `${log}\n\n${question}` }];

test("the demonstration model answers as a message, streamed and whole", async () => {
  const cluster = await serve({});
  try {
    const request = { model: "yardlog", max_tokens: 40, messages: ask("Where is container rustic-tulip bound?") };
    const whole = await clientOf(cluster).messages.create(request);
    expect(whole).toMatchObject({ content: [{ text: "Container rustic-tulip is bound for Sydney." }], stop_reason: "end_turn" });
    const streamed = await clientOf(cluster).messages.stream(request).finalMessage();
    expect(streamed.content).toMatchObject(whole.content);
  } finally {
    await cluster.stop();
  }
});

let cluster: Served;
beforeAll(async () => {
  cluster = await serve({ LONGSHORE_ENGINE: "weightless", LONGSHORE_SEGMENT_TOKENS: "128", LONGSHORE_CHUNK_TOKENS: "256" });
});
afterAll(() => cluster.stop());

test("the second turn of a conversation reads the first from the cache, and the input adds up", async () => {
  const client = clientOf(cluster);
  const messages = [{ role: "user" as const, content: log.repeat(30) }];
  const first = await client.messages.create({ model: "yardlog", max_tokens: 8, messages });
  expect(first).toMatchObject({ stop_reason: "max_tokens", usage: { cache_read_input_tokens: 0, output_tokens: 8 } });
  const more = [...messages, { role: "assistant" as const, content: "Yes." }, { role: "user" as const, content: "And?" }];
  const second = await client.messages.stream({ model: "yardlog", max_tokens: 8, messages: more }).finalMessage();
  const { input_tokens } = await client.messages.countTokens({ model: "yardlog", messages: more });
  expect(second.usage.cache_read_input_tokens! % 128).toBe(0);
  expect(second.usage.cache_read_input_tokens).toBeGreaterThan(first.usage.input_tokens - 256);
  expect(second.usage.input_tokens + second.usage.cache_read_input_tokens!).toBe(input_tokens);
});

test("many readers of streams at once: each gets its own message, whole", async () => {
  const client = clientOf(cluster);
  const requests = Array.from({ length: 12 }, (_, i) => ({ model: "yardlog", max_tokens: 20 + i, temperature: 0, messages: ask(`${i}?`) }));
  const streamed = await Promise.all(requests.map((request) => client.messages.stream(request).finalMessage()));
  const alone = [];
  for (const request of requests) alone.push(await client.messages.create(request));
  expect(streamed.map(({ content }) => content.map((block) => ({ ...block })))).toEqual(alone.map(({ content }) => content));
});
