import type OpenAI from "openai";
import { expect, test } from "vitest";
import { collect } from "../../../support/bus.ts";
import { freshClients } from "../../../support/clients.ts";
import { ask } from "../../../support/responses.ts";

/** Functions in namespaces, as Codex sends those that steer other agents. */
const run = freshClients({ graceMs: 50 });
const { says } = run;

const parameters = { type: "object", properties: { id: { type: "string" } } };
const fn = (name: string) => ({ type: "function" as const, name, description: "Ends one.", strict: false, parameters });
const tools: OpenAI.Responses.Tool[] = [
  fn("find"),
  { type: "namespace", name: "agents", description: "Other agents.", tools: [fn("close")] },
];

const GIVEN = '<｜DSML｜parameter name="id" string="true">a1</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
const CALL = `\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="agents__close">\n${GIVEN}`;
const CALLED = { type: "function_call", namespace: "agents", name: "close", arguments: '{"id": "a1"}', status: "completed" };

test("the model knows one name of it, a call has both, whole and streamed", async () => {
  const whole = run.openai.responses.create({ ...ask, tools });
  const prompt = await says(CALL);
  expect(prompt).toContain('{"name": "agents__close", "description": "Other agents.\\nEnds one.", "parameters"');
  const { output, tools: echoed } = await whole;
  expect(output).toMatchObject([CALLED]);
  expect(echoed).toEqual(tools);

  const stream = run.openai.responses.create({ ...ask, tools, stream: true });
  const played = says(CALL);
  const done = (await collect(await stream)).filter(({ type }) => type === "response.output_item.done");
  await played;
  expect(done).toMatchObject([{ item: CALLED }]);
});

test("a call that comes back is what the model wrote, by whatever way it comes", async () => {
  const first = run.openai.responses.create({ ...ask, tools });
  await says(CALL);
  const { id, output } = await first;
  const result = {
    type: "function_call_output" as const,
    call_id: (output[0] as OpenAI.Responses.ResponseFunctionToolCall).call_id,
    output: "ok",
  };
  const replay = {
    input: [{ role: "user" as const, content: String(ask.input) }, output[0] as OpenAI.Responses.ResponseFunctionToolCall, result],
  };
  for (const request of [replay, { previous_response_id: id, input: [result] }]) {
    const next = run.openai.responses.create({ ...ask, ...request, tools });
    expect(await says("Done.")).toContain(`${CALL}<｜end▁of▁sentence｜><｜User｜><tool_result>ok</tool_result>`);
    await next;
  }
});

test("tools stand in the prompt as they were sent, and a call that comes back without its namespace is that of the one that has the name", async () => {
  const late = { ...fn("late"), description: "Is late." };
  const called = { type: "function_call", call_id: "c", name: "close", arguments: "{}" };
  const input = [{ role: "user", content: "Where?" }, called, { type: "function_call_output", call_id: "c", output: "ok" }];
  const invoked = async (...sent: object[]) => {
    const next = run.openai.responses.create({ ...ask, input, tools: sent } as never);
    const prompt = await says("Done.");
    await next;
    const [tools, said] = [prompt.matchAll(/"name": "(\w+)"/g), prompt.matchAll(/invoke name="(\w+)"/g)];
    return { tools: Array.from(tools, ([, name]) => name), said: Array.from(said, ([, name]) => name).at(-1) };
  };
  const [find, agents] = tools;
  expect(await invoked(agents!, late, find!)).toEqual({ tools: ["agents__close", "late", "find"], said: "agents__close" });
  expect((await invoked(agents!, { ...agents, name: "others" })).said, "of two it may be either").toBe("close");
  expect((await invoked(agents!, fn("close"))).said).toBe("close");
});

test("a choice names functions in namespaces as calls do", async () => {
  const function_ = { type: "function", name: "close" };
  for (const named of [function_, { ...function_, namespace: "agents" }, { ...function_, name: "agents__close" }]) {
    const forced = run.openai.responses.create({ ...ask, tools, tool_choice: named } as never);
    expect(await says(GIVEN)).toMatch(/invoke name="agents__close">\n$/);
    expect((await forced).output).toMatchObject([CALLED]);
    const allowed = run.openai.responses.create({
      ...ask,
      tools,
      tool_choice: { type: "allowed_tools", mode: "auto", tools: [named] },
    } as never);
    const prompt = await says("No.");
    expect([prompt.includes("agents__close"), prompt.includes('"find"')]).toEqual([true, false]);
    await allowed;
  }
});

test.each<[string, object, string]>([
  ["two functions that are one to the model", { tools: [fn("agents__close"), tools[1]] }, "tools"],
  [
    "a tool that is to be run here, by its name",
    { tools: [fn("find"), { type: "web_search", external_web_access: false }] },
    "tools[1].type",
  ],
  [
    "another kind within one",
    { tools: [{ type: "namespace", name: "n", tools: [{ type: "custom", name: "c" }] }] },
    "tools[0].tools[0].type",
  ],
  [
    "what no function is in a choice",
    { tools, tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "web_search" }] } },
    "tool_choice.tools[0].type",
  ],
])("%s is refused", async (_, fields, param) => {
  const refused = run.openai.responses.create({ ...ask, ...fields });
  await expect(refused).rejects.toMatchObject({
    status: 400,
    param,
    message: expect.stringMatching(/"(agents__close|web_search|custom)"/),
  });
});

test("what a namespace says of itself makes no prompt out of a small request that is many times as large", async () => {
  const group = (bytes: number, functions: number) => ({
    ...{ type: "namespace" as const, name: "n", description: "a ".repeat(bytes / 2) },
    tools: Array.from({ length: functions }, (_, i) => ({ type: "function" as const, name: `f${i}` })),
  });
  const count = (...tools: object[]) => run.openai.responses.inputTokens.count({ model: "yardlog", input: "x", tools: tools as never });
  const refused = { status: 413, param: "tools" };
  await expect(count(group(400_000, 4))).rejects.toMatchObject(refused);
  await expect(count(group(300_000, 3), { ...group(300_000, 3), name: "m" })).rejects.toMatchObject(refused);
  expect((await count(group(2_000, 100))).input_tokens).toBeGreaterThan(100_000);
});

test("the input may be said to be cut where it does not fit: what fits is answered, and nothing was cut", async () => {
  const answer = run.openai.responses.create({ ...ask, truncation: "auto" });
  await says("In bay 42.");
  expect(await answer).toMatchObject({ status: "completed", truncation: "disabled" });
});
