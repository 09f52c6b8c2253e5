import type OpenAI from "openai";
import { expect, test } from "vitest";
import { freshClients } from "../../support/clients.ts";

const run = freshClients();

const user = { role: "user" as const, content: "Where is red-fox?" };
const parameters = { type: "object" as const, properties: { bay: { type: "number" } } };
const named = (name: string) => ({ type: "function" as const, function: { name, parameters } });
const chat = { model: "yardlog", messages: [user], tools: [named("find"), named("count")] };
const OPENING = '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="';
const REST = '<｜DSML｜parameter name="bay" string="false">4.20</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';

test("a named function: the prompt has the call up to its arguments, the answer is the call, streamed and whole", async () => {
  const request = { ...chat, tool_choice: { type: "function" as const, function: { name: "count" } } };
  const whole = run.openai.chat.completions.create(request);
  expect(await run.says(REST)).toMatch(new RegExp(`<｜Assistant｜></think>${OPENING}count">\n$`));
  const { message, finish_reason } = (await whole).choices[0]!;
  const call = { id: expect.stringMatching(/^call_\w{20}_0$/), type: "function", function: { name: "count", arguments: '{"bay": 4.20}' } };
  expect([message.content, message.tool_calls, finish_reason]).toEqual([null, [call], "tool_calls"]);
  const streamed = run.openai.chat.completions.stream(request);
  await run.says(REST);
  expect((await streamed.finalMessage()).tool_calls).toMatchObject([{ function: call.function }]);
});

test("any function: the name is the model's; with thinking on, it does not think before", async () => {
  const asked = run.openai.chat.completions.create({ ...chat, tool_choice: "required", thinking: { type: "enabled" } } as never);
  const prompt = await run.says(`find">\n${REST}`);
  expect(prompt.endsWith(`<｜Assistant｜><think></think>${OPENING}`)).toBe(true);
  const { message } = ((await asked) as OpenAI.ChatCompletion).choices[0]!;
  expect(message).toMatchObject({ content: null, tool_calls: [{ function: { name: "find" } }] });
  expect(message).not.toMatchObject({ reasoning_content: expect.anything() });

  const [call] = message.tool_calls!;
  const result = { role: "tool" as const, tool_call_id: call!.id, content: "yes" };
  const next = run.openai.chat.completions.create({ ...chat, messages: [user, message, result] });
  expect(await run.says("In bay 4.")).toContain(`${OPENING}find">\n${REST}<｜end▁of▁sentence｜>`);
  await next;
});

test("messages of Anthropic's clients, and responses", async () => {
  const tools = [{ name: "find", input_schema: parameters }];
  for (const tool_choice of [{ type: "any" as const }, { type: "tool" as const, name: "find" }]) {
    const message = run.anthropic.messages.create({ model: "yardlog", max_tokens: 90, messages: [user], tools, tool_choice });
    await run.says(tool_choice.type === "any" ? `find">\n${REST}` : REST);
    expect((await message).content).toMatchObject([{ type: "tool_use", name: "find", input: { bay: 4.2 } }]);
  }
  const response = run.openai.responses.create({
    ...{ model: "yardlog", input: "Where?", tool_choice: { type: "function", name: "find" } },
    tools: [{ type: "function", name: "find", parameters, strict: false }],
  });
  await run.says(REST);
  expect((await response).output).toMatchObject([{ type: "function_call", name: "find", arguments: '{"bay": 4.20}' }]);
});

test.each([
  ["a name that no tool has", { ...chat, tool_choice: { type: "function", function: { name: "seek" } } }],
  ["no tools", { model: "yardlog", messages: [user], tool_choice: "required" }],
  ["a choice nobody knows", { ...chat, tool_choice: "always" }],
])("400 names the field: %s", async (_, request) => {
  await expect(run.openai.chat.completions.create(request as never)).rejects.toMatchObject({ status: 400, param: "tool_choice" });
});

test("a call cannot be forced in an answer that the client has begun", async () => {
  const messages = [user, { role: "assistant" as const, content: "In" }];
  const tools = [{ name: "find", input_schema: parameters }];
  const asked = run.anthropic.messages.create({ model: "yardlog", max_tokens: 9, messages, tools, tool_choice: { type: "any" } });
  await expect(asked).rejects.toMatchObject({ status: 400, message: expect.stringContaining("when the last message is the assistant's") });
});
