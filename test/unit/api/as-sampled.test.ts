import type OpenAI from "openai";
import { expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { asSampled } from "../../../services/api/prompt/as-sampled.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { freshClients } from "../../support/clients.ts";
import { junk, memoryOpenToOthers } from "../../support/damage.ts";
import { overriding } from "../../support/overriding.ts";

const record = memoryOpenToOthers();
const run = freshClients({}, record.bus);

/** Numbers, escapes and spaces that nobody who prints JSON anew would write. */
const WRITTEN =
  'Look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="opts" string="false">{"b":1.50,  "a":"\\u00e9"}</｜DSML｜parameter>\n<｜DSML｜parameter name="name" string="true">red-fox</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
const THOUGHT = "The yard is long.";

const user = { role: "user" as const, content: "Where is red-fox?" };
const parameters = { type: "object" as const, properties: { name: { type: "string" } } };
const chat = {
  model: "yardlog",
  tools: [{ type: "function" as const, function: { name: "find", parameters } }],
  thinking: { type: "enabled" },
} as const;

/** A first turn whose answer is WRITTEN, as the client has it. */
async function firstTurn() {
  const answer = run.openai.chat.completions.create({ ...chat, messages: [user] } as never);
  const prompt = await run.says(`${THOUGHT}</think>${WRITTEN}`);
  const { message } = ((await answer) as OpenAI.ChatCompletion).choices[0]!;
  return { prompt, message, call: message.tool_calls![0] as OpenAI.ChatCompletionMessageFunctionToolCall };
}

/** The prompt of a second turn in which the client tells its first answer as `message`. */
async function secondPrompt(message: object, callId: string): Promise<string> {
  const messages = [user, message, { role: "tool", tool_call_id: callId, content: "bay 42" }];
  const answer = run.openai.chat.completions.create({ ...chat, messages } as never);
  const prompt = await run.says("Yes.</think>In bay 42.");
  await answer;
  return prompt;
}

const exactly = (first: string) => `${first}${THOUGHT}</think>${WRITTEN}<｜end▁of▁sentence｜>`;

test("the next prompt has the answer as it was sampled, though the client printed the arguments anew and dropped the reasoning", async () => {
  const { prompt, message, call } = await firstTurn();
  const printedAnew = JSON.stringify(JSON.parse(call.function.arguments));
  expect(printedAnew).not.toBe(call.function.arguments);
  const { role, content } = message;
  for (const given of [call.function.arguments, printedAnew]) {
    const told = { role, content, tool_calls: [{ ...call, function: { ...call.function, arguments: given } }] };
    expect((await secondPrompt(told, call.id)).startsWith(exactly(prompt))).toBe(true);
  }
});

test("an answer that the client changed is what the client says", async () => {
  const { prompt, message, call } = await firstTurn();
  const { role, content } = message;
  const calling = (name: string, args: string) => [{ ...call, function: { name, arguments: args } }];
  const same = { role, content, tool_calls: calling("find", call.function.arguments) };
  const changes = [
    { ...same, content: "Look!" },
    { ...same, reasoning_content: "Something else." },
    { ...same, tool_calls: calling("seek", call.function.arguments) },
    { ...same, tool_calls: calling("find", '{"name":"blue-fox"}') },
    { ...same, tool_calls: [...same.tool_calls, { ...call, id: call.id.replace(/_0$/, "_1") }] },
  ];
  for (const changed of changes) expect((await secondPrompt(changed, call.id)).startsWith(exactly(prompt))).toBe(false);
  expect((await secondPrompt({ ...same, reasoning_content: THOUGHT }, call.id)).startsWith(exactly(prompt))).toBe(true);
});

test("ids of unknown jobs, of deleted ones and of nobody's change nothing", async () => {
  const { prompt, message, call } = await firstTurn();
  const { role, content } = message;
  const told = (id: string) => ({ role, content, tool_calls: [{ ...call, id }] });
  for (const id of [call.id.replace(/_.*_/, `_${"0".repeat(20)}_`), "call_1", call.id.replace(/_0$/, "_7")])
    expect((await secondPrompt(told(id), id)).startsWith(exactly(prompt))).toBe(false);
  const job = call.id.replace("call_", "job_").replace(/_0$/, "");
  await fetch(`${run.api.url}/v1/jobs/${job}`, { method: "DELETE" });
  expect((await secondPrompt(told(call.id), call.id)).startsWith(exactly(prompt))).toBe(false);
});

test("of a long conversation the last 1,024 answers are looked up, sixteen at a time", async () => {
  const ids = Array.from({ length: 1_030 }, (_, i) => String(i).padStart(20, "0"));
  const messages = ids.map((id) => ({
    role: "assistant" as const,
    content: "",
    tool_calls: [{ id: `call_${id}_0`, type: "function" as const, function: { name: "find", arguments: "{}" } }],
  }));
  const asked: string[] = [];
  let underWay = 0;
  let most = 0;
  const first = async (jobId: string) => {
    asked.push(jobId);
    most = Math.max(most, ++underWay);
    await new Promise(setImmediate);
    underWay--;
    return null;
  };
  const bus = { ...record.bus, log: overriding(record.bus.log, { first }) };
  expect(await asSampled({ bus, model: await openServedModel(loadConfig({})) }, "default", messages)).toEqual(messages);
  expect(asked.toSorted()).toEqual(ids.slice(6).map((id) => `job_${id}`));
  expect(most).toBe(16);
});

test("an answer that a conversation has many times is looked up once", async () => {
  const { message, call } = await firstTurn();
  const { role, content } = message;
  const told = { role, content, tool_calls: [call] };
  const result = { role: "tool" as const, tool_call_id: call.id, content: "bay 42" };
  let reads = 0;
  const read = async (jobId: string) => {
    reads++;
    return record.bus.log.read(jobId);
  };
  const bus = { ...record.bus, log: overriding(record.bus.log, { read }) };
  const messages = [user, ...Array(50).fill([told, result]).flat(), user] as never;
  const found = await asSampled({ bus, model: await openServedModel(loadConfig({})) }, "default", messages);
  expect([reads, found.filter(({ written }) => written !== undefined).length]).toEqual([1, 1]);
});

test("a conversation goes on though the log of one of its answers cannot be read any more", async () => {
  const { prompt, message, call } = await firstTurn();
  await record.write(call.id.replace("call_", "job_").replace(/_0$/, ""), junk);
  const { role, content } = message;
  const next = await secondPrompt({ role, content, tool_calls: [call] }, call.id);
  expect([next.startsWith(exactly(prompt)), next.includes("Look.")]).toEqual([false, true]);
});

test("messages of Anthropic's clients, whose inputs are objects, too", async () => {
  const request = {
    ...{ model: "yardlog", max_tokens: 200, thinking: { type: "adaptive" as const } },
    tools: [{ name: "find", input_schema: parameters }],
  };
  const first = run.anthropic.messages.create({ ...request, messages: [user] });
  const prompt = await run.says(`${THOUGHT}</think>${WRITTEN}`);
  const { content } = await first;
  const use = content.find((block) => block.type === "tool_use")!;
  const withoutThoughts = content.filter(({ type }) => type !== "thinking");
  const result = { type: "tool_result" as const, tool_use_id: use.id, content: "bay 42" };
  const messages = [user, { role: "assistant" as const, content: withoutThoughts }, { role: "user" as const, content: [result] }];
  const second = run.anthropic.messages.create({ ...request, messages });
  const next = await run.says("Yes.</think>In bay 42.");
  await second;
  expect(next.startsWith(exactly(prompt))).toBe(true);
});
