import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { playText, promptOf, type TestApi, testApi } from "../support/api.ts";

/** The `ai` package with its provider for servers that speak OpenAI's API, as its users would point it at a replica. */

let api: TestApi;
const modelOf = (options: { includeUsage?: boolean } = {}) =>
  createOpenAICompatible({ name: "longshore", baseURL: `${api.url}/v1`, apiKey: "none", ...options })("yardlog");

beforeAll(async () => {
  api = await testApi();
});
afterAll(() => api.close());

const says = (text: string) => playText(api, text);

const CALL =
  '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="container" string="true">red-fox</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
const find = tool({
  description: "Where a container is",
  inputSchema: z.object({ container: z.string() }),
  execute: async ({ container }) => ({ container, bay: 42 }),
});

test("a text is generated, with its usage and the reason of its end", async () => {
  const answer = generateText({ model: modelOf(), prompt: "Where is red-fox?", maxOutputTokens: 50, maxRetries: 0 });
  const request = await says("In bay 42.");
  const { text, usage, finishReason } = await answer;
  expect({ text, finishReason }).toEqual({ text: "In bay 42.", finishReason: "stop" });
  expect(usage).toMatchObject({ inputTokens: request.promptTokens, outputTokens: (await api.tokenizer.encode("In bay 42.")).length });
});

test("a stream tells thoughts apart from text, and the usage where it is asked for", async () => {
  const { fullStream, text, reasoningText, usage } = streamText({
    model: modelOf({ includeUsage: true }),
    messages: [{ role: "user", content: "Where is red-fox?" }],
    providerOptions: { longshore: { thinking: { type: "enabled" } } },
    maxRetries: 0,
  });
  const played = says("Bay, then.</think>In bay 42.");
  const types = new Set<string>();
  for await (const { type } of fullStream) types.add(type);
  await played;
  expect([...types]).toEqual(expect.arrayContaining(["reasoning-delta", "text-delta", "finish"]));
  expect([await reasoningText, await text]).toEqual(["Bay, then.", "In bay 42."]);
  expect((await usage).inputTokens).toBeGreaterThan(0);
});

type Request = Parameters<typeof generateText>[0];
const ways = [
  ["in one piece", async (request: Request) => generateText(request)],
  [
    "streamed",
    async (request: Request) => {
      const { text, steps } = streamText(request);
      return { text: await text, steps: await steps };
    },
  ],
] as const;

test.each(ways)("a tool is called, run by the client, and its result answered: %s", async (_, run) => {
  const result = run({ model: modelOf(), tools: { find }, prompt: "Where is red-fox?", stopWhen: stepCountIs(3), maxRetries: 0 });
  const asked = await promptOf(api, await says(CALL));
  expect(asked).toContain('{"name": "find", "description": "Where a container is"');
  const followed = await promptOf(api, await says("In bay 42."));
  expect(followed).toContain(
    `${CALL}<｜end▁of▁sentence｜><｜User｜><tool_result>{"container":"red-fox","bay":42}</tool_result><｜Assistant｜>`,
  );
  const { text, steps } = await result;
  expect(text).toBe("In bay 42.");
  expect(steps.map(({ finishReason, toolCalls }) => [finishReason, toolCalls.map(({ input }) => input)])).toEqual([
    ["tool-calls", [{ container: "red-fox" }]],
    ["stop", []],
  ]);
});

test("what the server refuses is the client's own error, with the server's words", async () => {
  const refused = generateText({ model: modelOf(), prompt: "x", temperature: 9, maxRetries: 0 });
  await expect(refused).rejects.toMatchObject({
    name: "AI_APICallError",
    statusCode: 400,
    message: expect.stringContaining("temperature"),
  });
});
