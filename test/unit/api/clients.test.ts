import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { playText, promptOf, type TestApi, testApi } from "../../support/api.ts";

/** What agents and libraries send that no document dwells on, and what they look for in answers (docs/api.md, "Clients we ran"). */
let api: TestApi;
const digest = (key: string) => createHash("sha256").update(key).digest("hex");
beforeAll(async () => {
  api = await testApi({ apiKeys: digest("key") });
});
afterAll(() => api.close());

const ask = (path: string, body: object, key = "key") =>
  fetch(api.url + path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    body: JSON.stringify({ model: "yardlog", ...body }),
  });
const messageOf = async (response: Response) => ((await response.json()) as { error: { message: string } }).error.message;

const CHAT = "/v1/chat/completions";
const MESSAGES = "/v1/messages";
const RESPONSES = "/v1/responses";
const user = { role: "user", content: "Where?" };
const tool = (name: string) => ({ type: "function", function: { name, parameters: {} } });
const flat = (name: string) => ({ type: "function", name, parameters: {} });

async function prompted(path: string, body: object): Promise<string> {
  const answer = ask(path, body);
  const prompt = await promptOf(api, await playText(api, "Fine."));
  expect((await answer).status).toBe(200);
  return prompt;
}

test("what only a vendor's own service acts on is passed over", async () => {
  const extras = {
    ...{
      store: false,
      service_tier: "auto",
      safety_identifier: "s",
      prompt_cache_key: "k",
      prompt_cache_retention: "24h",
      verbosity: "low",
    },
    ...{ metadata: { a: "b" }, user: "u", parallel_tool_calls: true, modalities: ["text"], prediction: { type: "content", content: "x" } },
    ...{ tools: [], functions: [], top_k: -1, stop: [], stream_options: null },
  };
  const cached = [{ type: "text", text: "Where?", cache_control: { type: "ephemeral" } }];
  const messages = [
    { role: "developer", content: "Be brief." },
    { role: "user", name: "ann", content: cached },
  ];
  expect(await prompted(CHAT, { messages, ...extras })).toBe("<｜begin▁of▁sentence｜>Be brief.<｜User｜>Where?<｜Assistant｜></think>");
});

test("a refusal that comes back is what the assistant said", async () => {
  const refusal = {
    role: "assistant",
    content: [
      { type: "refusal", refusal: "I will not." },
      { type: "text", text: "No.", refusal: null },
    ],
  };
  expect(await prompted(CHAT, { messages: [user, refusal, user] })).toContain("I will not.\n\nNo.<｜end▁of▁sentence｜>");
});

test.each([
  [
    "chat completions",
    CHAT,
    { messages: [user], tools: [tool("find"), tool("drop")] },
    (mode: string, names: readonly string[]) => ({
      type: "allowed_tools",
      allowed_tools: { mode, tools: names.map((name) => ({ type: "function", function: { name } })) },
    }),
  ],
  [
    "responses",
    RESPONSES,
    { input: "Where?", tools: [flat("find"), flat("drop")] },
    (mode: string, names: readonly string[]) => ({
      type: "allowed_tools",
      mode,
      tools: names.map((name) => ({ type: "function", name })),
    }),
  ],
] as const)("of several tools those that are allowed are told of, and one of them can be asked for: %s", async (_, path, body, allowed) => {
  const some = await prompted(path, { ...body, tool_choice: allowed("auto", ["find"]) });
  expect([some.includes('"name": "find"'), some.includes('"name": "drop"')]).toEqual([true, false]);
  const forced = await prompted(path, { ...body, tool_choice: allowed("required", ["find", "drop"]) });
  expect(forced.endsWith('<｜DSML｜tool_calls>\n<｜DSML｜invoke name="')).toBe(true);
  const unknown = await ask(path, { ...body, tool_choice: allowed("auto", ["sink"]) });
  expect([unknown.status, await messageOf(unknown)]).toEqual([400, expect.stringContaining('no tool is named "sink"')]);
});

test.each<[string, string, object, string]>([
  [
    "functions in their old form",
    CHAT,
    { messages: [user], functions: [{ name: "find" }] },
    "functions: functions are not supported: send them as tools",
  ],
  ["a search of the web", CHAT, { messages: [user], web_search_options: {} }, "web_search_options: searching the web is not supported"],
  ["speech", CHAT, { messages: [user], modalities: ["text", "audio"] }, "modalities[1]: only text is supported"],
  [
    "a tool of another kind",
    CHAT,
    { messages: [user], tools: [{ type: "custom", custom: { name: "f" } }] },
    'tools[0].type: only functions, which the client runs, are supported: not "custom"',
  ],
  [
    "a choice of another kind",
    CHAT,
    { messages: [user], tool_choice: { type: "custom" } },
    "tool_choice.type: only auto, none, required, a named function and allowed_tools are supported",
  ],
  [
    "servers of tools",
    MESSAGES,
    { messages: [user], max_tokens: 9, mcp_servers: [{ type: "url", name: "m", url: "https://m" }] },
    "mcp_servers: MCP servers are not supported",
  ],
  [
    "a tool that is to be run here",
    MESSAGES,
    { messages: [user], max_tokens: 9, tools: [{ type: "web_search_20250305", name: "web_search" }] },
    'not "web_search_20250305"',
  ],
])("what would change the answer is refused in words: %s", async (_, path, body, words) => {
  const refused = await ask(path, body);
  expect([refused.status, await messageOf(refused)]).toEqual([400, expect.stringContaining(words)]);
});

test.each([
  ["a key that is none", CHAT, { messages: [user] }, "none", 401],
  ["a key that is none, in messages", MESSAGES, { messages: [user], max_tokens: 9 }, "none", 401],
  ["another model", CHAT, { model: "gpt", messages: [user] }, "key", 404],
  ["a request at fault", RESPONSES, { input: 5 }, "key", 400],
])("clients that would try again are told not to: %s", async (_, path, body, key, status) => {
  const refused = await ask(path, body, key);
  expect([refused.status, refused.headers.get("x-should-retry")]).toEqual([status, "false"]);
});

/** Claude Code shortens the conversation, or asks for fewer tokens, by these words and numbers alone. */
test.each([
  [
    "the answer",
    { max_tokens: 1_048_576, messages: [user] },
    /input length and `max_tokens` exceed context limit: (\d+) \+ (\d+) > (\d+)/,
    ["6", "1048576", "1048576"],
  ],
  [
    "the prompt",
    { max_tokens: 9, messages: [{ role: "user", content: "a ".repeat(1_048_600) }] },
    /prompt is too long[^0-9]*(\d+)\s*tokens?\s*>\s*(\d+)/i,
    ["1048601", "1048575"],
  ],
])("what does not fit the context is told in the words that clients know: %s", async (_, body, words, numbers) => {
  const refused = await ask(MESSAGES, body);
  expect(refused.status).toBe(400);
  expect((words.exec(await messageOf(refused)) ?? []).slice(1)).toEqual(numbers);
});
