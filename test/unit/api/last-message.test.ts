import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { playText, promptOf, type TestApi, testApi } from "../../support/api.ts";

let api: TestApi;
let client: OpenAI;
beforeAll(async () => {
  api = await testApi();
  client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => api.close());

type Extra = Record<string, unknown>;
const system = { role: "system", content: "Be brief." };
const user = { role: "user", content: "Where is red-fox?" };
const ask = (messages: readonly Extra[], extra: Extra = {}) =>
  client.chat.completions.create({ model: "yardlog", messages, ...extra } as never) as Promise<OpenAI.ChatCompletion>;
const thinking = { thinking: { type: "enabled" } };

test("a system message alone is answered: thoughts are told apart, and a format holds behind them", async () => {
  const answer = ask([system], { ...thinking, response_format: { type: "json_object" } });
  const request = await playText(api, "Bay.</think>{}");
  expect((await answer).choices[0]!.message).toMatchObject({ reasoning_content: "Bay.", content: "{}" });
  expect(request.constraint).toEqual({ schema: '{"type":"object"}', after: api.tokenizer.ids.thinkEnd });
  expect((await promptOf(api, request)).endsWith("<｜Assistant｜><think>")).toBe(true);
});

test("a call can be forced behind a system message", async () => {
  const tools = [{ type: "function", function: { name: "find" } }];
  const answer = ask([system], { tools, tool_choice: "required" });
  const opening = '<｜Assistant｜></think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="';
  expect(await promptOf(api, await playText(api, "find"))).toMatch(new RegExp(`${opening}$`));
  await answer;
});

test("an answer that the client has begun is continued: without thinking, behind the thoughts that came with it", async () => {
  const begun = { role: "assistant", prefix: true, content: "It is in bay", reasoning_content: "Bay." };
  const answer = ask([user, begun], thinking);
  const prompt = await promptOf(api, await playText(api, " 42."));
  expect(prompt).toBe("<｜begin▁of▁sentence｜><｜User｜>Where is red-fox?<｜Assistant｜><think>Bay.</think>It is in bay");
  const { message } = (await answer).choices[0]!;
  expect(message.content).toBe(" 42.");
  expect(message).not.toMatchObject({ reasoning_content: expect.anything() });
});

const said = { role: "assistant", content: "In" };
const calling = { role: "assistant", tool_calls: [{ id: "a", type: "function", function: { name: "f", arguments: "{}" } }] };
const begun = { ...said, prefix: true };
test.each<[string, readonly Extra[], Extra, string, RegExp]>([
  ["the assistant's last word", [user, said], {}, "messages", /messages\[1\].*end with a user or tool message.*"prefix": true/],
  ["the same, and prefix says no", [user, { ...said, prefix: false }], {}, "messages", /messages\[1\]/],
  ["a prefix that is not the last", [user, begun, user], {}, "messages[1].prefix", /allowed only on the last message/],
  ["a prefix of the user's", [user, { ...user, prefix: true }], {}, "messages[1].prefix", /the assistant's/],
  ["a prefix that is no yes or no", [user, { ...said, prefix: "yes" }], {}, "messages[1].prefix", /boolean/],
  ["a user without a word", [{ role: "user" }], {}, "messages[0].content", /is missing/],
  ["a user who says null", [system, { role: "user", content: null }], {}, "messages[1].content", /must be a string/],
  ["a system message without a word", [{ role: "developer", content: null }, user], {}, "messages[0].content", /must be a string/],
  [
    "a call to be continued",
    [user, { ...calling, prefix: true }],
    {},
    "messages[1].tool_calls",
    /must be followed by tool messages with their results/,
  ],
  [
    "a begun answer in a form",
    [user, begun],
    { response_format: { type: "json_object" } },
    "response_format",
    /when the last message is the assistant's/,
  ],
])("400 names the message and what to do: %s", async (_, messages, extra, param, message) => {
  await expect(ask(messages, extra)).rejects.toMatchObject({ status: 400, param, message: expect.stringMatching(message) });
});

test("a developer's message is a system message, kept while the model thinks; messages are written in their order", async () => {
  const developer = { role: "developer", content: "Say bays." };
  const earlier = [developer, user, said];
  const first = ask([...earlier, user], thinking);
  const BOS = "<｜begin▁of▁sentence｜>";
  const turn = "<｜User｜>Where is red-fox?<｜Assistant｜></think>In<｜end▁of▁sentence｜>";
  const prompt = await promptOf(api, await playText(api, "</think>42"));
  expect(prompt).toBe(`${BOS}Say bays.${turn}<｜User｜>Where is red-fox?<｜Assistant｜><think>`);
  await first;
  const second = ask([system, ...earlier, user, developer], thinking);
  expect(await promptOf(api, await playText(api, "</think>42"))).toBe(
    `${BOS}Be brief.Say bays.${turn}<｜User｜>Where is red-fox?Say bays.<｜Assistant｜><think>`,
  );
  await second;
});

test("in responses, too, a developer's message is kept while the model thinks, and is listed as what it is", async () => {
  const input = [
    { role: "developer" as const, content: "Say bays." },
    { role: "user" as const, content: "Where?" },
    { role: "assistant" as const, content: "In" },
    { role: "user" as const, content: "In?" },
  ];
  const answer = client.responses.create({ model: "yardlog", input, reasoning: { effort: "low" } });
  const prompt = await promptOf(api, await playText(api, "</think>42"));
  expect(prompt).toContain("<｜begin▁of▁sentence｜>Say bays.<｜User｜>Where?");
  const { data } = await client.responses.inputItems.list((await answer).id, { order: "asc" });
  expect(data[0]).toMatchObject({ role: "developer" });
});

test("a call has no content, and a tool may have none", async () => {
  const answer = ask([user, { ...calling, content: null }, { role: "tool", tool_call_id: "a" }, { role: "tool", content: null }]);
  expect(await promptOf(api, await playText(api, "Bay."))).toContain("<tool_result></tool_result>\n\n<tool_result></tool_result>");
  await answer;
});
