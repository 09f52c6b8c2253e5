import type OpenAI from "openai";
import { expect, test } from "vitest";
import { playText, promptOf } from "../../support/api.ts";
import { freshClients } from "../../support/clients.ts";
import { decode } from "../../support/decode.ts";

const run = freshClients();

const user = { role: "user" as const, content: "Where is red-fox?" };
const parameters = { type: "object" as const, properties: { name: { type: "string" } } };
const schema = { type: "object" as const, properties: { bay: { type: "integer" } }, required: ["bay"], additionalProperties: false };
const VALUE = '{"bay": 42}';
const OPENING = '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="';
const CALL = `${OPENING}find">\n<｜DSML｜parameter name="name" string="true">red-fox</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>`;

/** What the workers are told of the answer to `asked`, which is `text`. */
async function heldTo(text: string) {
  const request = await playText(run.api, text);
  const { instead, ...rest } = request.constraint ?? {};
  return {
    prompt: await promptOf(run.api, request),
    ...rest,
    ...(instead && { instead: decode(run.api.tokenizer, Int32Array.from(instead)) }),
  };
}

const chat = {
  ...{ model: "yardlog", messages: [user], tools: [{ type: "function" as const, function: { name: "find", parameters } }] },
  response_format: { type: "json_schema" as const, json_schema: { name: "place", strict: true, schema } },
};

test("a chat: the answer is a value of the schema or calls of tools, behind the reasoning if there is any", async () => {
  const called = run.openai.chat.completions.create(chat);
  const { prompt, ...held } = await heldTo(CALL);
  expect(held).toEqual({ schema: JSON.stringify(schema), instead: OPENING, blank: 2 }); // a token for each of its line breaks
  expect(prompt).toContain("## Tools");
  expect(prompt).toContain('following schema to reply:\n{"type": "json_schema", ');
  const [choice] = (await called).choices;
  expect(choice).toMatchObject({ finish_reason: "tool_calls", message: { content: null, tool_calls: [{ function: { name: "find" } }] } });

  const result = { role: "tool" as const, tool_call_id: choice!.message.tool_calls![0]!.id, content: "bay 42" };
  const told = run.openai.chat.completions.create({
    ...chat,
    messages: [user, choice!.message, result],
    thinking: { type: "enabled" },
  } as never);
  const { thinkEnd } = run.api.tokenizer.ids;
  expect(await heldTo(`So it is.</think>${VALUE}`)).toMatchObject({ after: thinkEnd, instead: OPENING });
  const { message } = ((await told) as OpenAI.ChatCompletion).choices[0]!;
  expect(message).toMatchObject({ content: VALUE, reasoning_content: "So it is." });
});

test("an answer that has to be a call is held to nothing else, and one that may be none to the schema alone", async () => {
  const forced = run.openai.chat.completions.create({ ...chat, tool_choice: "required" });
  expect(Object.keys(await heldTo(CALL.slice(OPENING.length)))).toEqual(["prompt"]);
  expect((await forced).choices[0]!.message.tool_calls).toHaveLength(1);
  const none = run.openai.chat.completions.create({ ...chat, tool_choice: "none" });
  expect(await heldTo(VALUE)).toEqual({ prompt: expect.not.stringContaining("## Tools"), schema: JSON.stringify(schema) });
  expect((await none).choices[0]!.message.content).toBe(VALUE);
});

test("messages of Anthropic's clients, and responses", async () => {
  const message = run.anthropic.messages.create({
    ...{ model: "yardlog", max_tokens: 90, messages: [user], tools: [{ name: "find", input_schema: parameters }] },
    output_config: { format: { type: "json_schema", schema } },
  });
  expect(await heldTo(CALL)).toMatchObject({ schema: JSON.stringify(schema), instead: OPENING });
  expect((await message).content).toMatchObject([{ type: "tool_use", name: "find", input: { name: "red-fox" } }]);
  const response = run.openai.responses.create({
    ...{ model: "yardlog", input: "Where?", tools: [{ type: "function", name: "find", parameters, strict: false }] },
    text: { format: { type: "json_schema", name: "place", schema } },
  });
  expect(await heldTo(VALUE)).toMatchObject({ schema: JSON.stringify(schema), instead: OPENING });
  expect((await response).output_text).toBe(VALUE);
});
