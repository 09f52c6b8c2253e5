import type { ResponseInput } from "openai/resources/responses/responses";
import { expect, test } from "vitest";
import { openServedModel } from "../../../../services/api/model.ts";
import { conversationOf } from "../../../../services/api/responses/history.ts";
import { responsesRequest } from "../../../../services/api/responses/requests.ts";
import { openBus } from "../../../../services/shared/bus/open.ts";
import { loadConfig } from "../../../../services/shared/runtime/config.ts";
import { playText, testApi } from "../../../support/api.ts";
import { handedOver, held, request } from "../../../support/bus.ts";
import { freshClients, openaiOf } from "../../../support/clients.ts";
import { overriding } from "../../../support/overriding.ts";
import { ask, CALLS, callsRequest } from "../../../support/responses.ts";

const run = freshClients({ graceMs: 50 });
const { says } = run;

test("a conversation goes on from the record: thoughts, calls and results as they were, on any replica", async () => {
  const first = run.openai.responses.create(callsRequest);
  await says(CALLS);
  const { id, output } = await first;
  const call = (n: number) => (output[2 + n] as { call_id: string }).call_id;
  const results: ResponseInput = [
    { type: "function_call_output", call_id: call(1), output: [{ type: "input_text", text: "second" }] },
    { type: "function_call_output", call_id: call(0), output: "first" },
  ];
  const second = run.openai.responses.create({ ...callsRequest, previous_response_id: id, input: results });
  const prompt = await says("42, then.</think>In bay 42.");
  const turn =
    'Bay, then.</think>Let me look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="bay" string="false">2.50</｜DSML｜parameter>\n' +
    '</｜DSML｜invoke>\n<｜DSML｜invoke name="find">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>';
  const conversation = `<｜User｜>Where is red-fox?<｜Assistant｜><think>${turn}<｜User｜><tool_result>first</tool_result>\n\n<tool_result>second</tool_result>`;
  expect(prompt.slice(prompt.indexOf("<｜User｜>"))).toBe(`${conversation}<｜Assistant｜><think>`);
  const answered = await second;
  expect(answered.previous_response_id).toBe(id);

  const replayed = run.openai.responses.create({
    ...callsRequest,
    store: false,
    input: [{ role: "user", content: ask.input }, ...(output as ResponseInput), ...results],
  });
  expect(await says("Yes.")).toBe(prompt);
  await replayed;
  const referred = output.map((item) => ({ type: "item_reference" as const, id: item.id! }));
  const byReference = run.openai.responses.create({
    ...callsRequest,
    store: false,
    input: [{ role: "user", content: ask.input }, ...referred, ...results],
  });
  expect(await says("Yes.")).toBe(prompt);
  await byReference;

  await run.openai.responses.delete(id);
  const third = run.openai.responses.create({ ...callsRequest, previous_response_id: answered.id, input: "Sure?" });
  const long = await says("Yes.");
  await third;
  const writtenAnew = conversation.replace(">2.50<", ">2.5<"); // the log that knows better is gone
  expect(long.slice(long.indexOf("<｜User｜>"))).toBe(
    `${writtenAnew}<｜Assistant｜><think>42, then.</think>In bay 42.<｜end▁of▁sentence｜><｜User｜>Sure?<｜Assistant｜><think>`,
  );
  const listed = [];
  for await (const item of run.openai.responses.inputItems.list(answered.id, { limit: 2, order: "asc" })) listed.push(item.type);
  const behindNothing = run.openai.responses.inputItems.list(answered.id, { after: "item_none" });
  await expect(behindNothing).rejects.toMatchObject({ status: 404, param: "after" });
  expect(listed).toEqual([
    "message",
    "reasoning",
    "message",
    "function_call",
    "function_call",
    "function_call_output",
    "function_call_output",
  ]);
});

test("items that came twice under one id are listed each once, from either end: no page begins anew", async () => {
  const first = run.openai.responses.create(callsRequest);
  await says("Hm.</think>In bay 42.");
  const { id, output } = await first;
  const doubled: ResponseInput = [...(output as ResponseInput), { role: "user", content: "Sure?" }];
  const second = run.openai.responses.create({ ...callsRequest, previous_response_id: id, input: doubled });
  await says("</think>Yes.");
  const { id: answered } = await second;
  const expected = ["message", "reasoning", "message", "reasoning", "message", "message"];
  for (const order of ["asc", "desc"] as const) {
    const pages = run.openai.responses.inputItems.list(answered, { limit: 1, order });
    const listed = [];
    for await (const item of pages) {
      listed.push(item);
      if (listed.length > expected.length) break;
    }
    expect(listed.map(({ type }) => type)).toEqual(order === "asc" ? expected : expected.toReversed());
    const ids = listed.map(({ id }) => id);
    expect(new Set(ids).size).toBe(expected.length);
    for (const own of output) expect(ids).toContain(own.id);
  }
});

test("reasoning comes back from clients that keep no more than its opaque form", async () => {
  const first = run.openai.responses.create({ ...callsRequest, store: false, include: ["reasoning.encrypted_content"] });
  await says(CALLS);
  const { output } = await first;
  const opaque = output.map((item) => (item.type === "reasoning" ? { ...item, content: undefined } : item)) as ResponseInput;
  const results = output.flatMap((item) =>
    item.type === "function_call" ? [{ type: "function_call_output" as const, call_id: item.call_id, output: "r" }] : [],
  );
  const next = run.openai.responses.create({ ...callsRequest, input: [{ role: "user", content: "Where?" }, ...opaque, ...results] });
  expect(await says("Yes.")).toContain("<think>Bay, then.</think>Let me look.");
  await next;
});

test("what is large lies beside the log and goes with the job", async () => {
  const instructions = "i".repeat(30_000);
  const input = "container ".repeat(2_600);
  const { id } = await run.openai.responses.create({ ...ask, instructions, input, background: true });
  expect((await run.openai.responses.retrieve(id)).instructions).toBe(instructions);
  const jobId = id.replace("resp_", "job_");
  for (const name of ["echo", "input"]) expect(await run.api.bus.payloads.get(`${jobId}.${name}`), name).not.toBeNull();
  await playText(run.api, "Yes.");
  const { data } = await run.openai.responses.inputItems.list(id);
  expect(data).toMatchObject([{ type: "message", role: "user", content: [{ type: "input_text", text: input }] }]);
  const next = run.openai.responses.create({ ...ask, previous_response_id: id });
  expect(await says("Yes.")).toContain(`<｜User｜>${input}<｜Assistant｜></think>Yes.<｜end▁of▁sentence｜><｜User｜>Where is red-fox?`);
  await next;
  await run.openai.responses.delete(id);
  for (const name of ["echo", "input"]) expect(await run.api.bus.payloads.get(`${jobId}.${name}`), name).toBeNull();
});

test("items of 64 responses may be referred to, each of which is read once, and of no more", async () => {
  const bus = openBus({ url: "memory:" });
  const response = { store: true, background: false, echo: { value: { encrypted: false, fields: {} } }, input: { value: [] } };
  const view = JSON.stringify({ surface: "responses", created: 0, thinking: false, tools: false, release: "0731", response });
  const ids = Array.from({ length: 65 }, (_, i) => String(i).padStart(20, "0"));
  for (const id of ids) {
    await bus.log.submit(`job_${id}`, request({ view }));
    await held(await bus.log.claim(`job_${id}`, "prefill", "scripted")).append(handedOver);
  }
  let reads = 0;
  const read = (jobId: string) => {
    reads++;
    return bus.log.read(jobId);
  };
  const config = loadConfig({});
  const deps = { bus: { ...bus, log: overriding(bus.log, { read }) }, model: await openServedModel(config), config };
  const referring = (count: number) => {
    const input = ids.slice(0, count).flatMap((id) => Array(2).fill({ type: "item_reference" as const, id: `msg_${id}_0` }));
    return conversationOf(deps, "tenant", responsesRequest.parse({ model: "yardlog", input }));
  };
  expect((await referring(64)).own).toHaveLength(128);
  expect(reads).toBe(64);
  await expect(referring(65)).rejects.toMatchObject({ code: "INVALID_REQUEST", param: "input" });
});

test("items that are referred to are together as large as a body may be, however short their names are", async () => {
  const small = await testApi({ bodyMaxBytes: 10_000 }, run.api.bus);
  const client = openaiOf(small.url);
  const first = run.openai.responses.create(ask);
  await says("word ".repeat(600));
  const { id } = (await first).output[0] as { readonly id: string };
  const input = (times: number): ResponseInput => [
    ...Array(times).fill({ type: "item_reference", id }),
    { role: "user", content: "Where?" },
  ];
  for (const store of [true, false])
    await expect(client.responses.create({ ...ask, input: input(4), store })).rejects.toMatchObject({ status: 413, param: "input" });
  const few = client.responses.create({ ...ask, input: input(3), store: false });
  expect((await says("Yes.")).match(/(word ){600}/g)).toHaveLength(3);
  await few;
  await small.close();
});

test("what a stored response was asked may be referred to as it is listed, as what it answered may", async () => {
  const first = run.openai.responses.create({ ...ask, input: "Where is red-fox?" });
  await says("In bay 42.");
  const { id, output } = await first;
  const { data } = await run.openai.responses.inputItems.list(id);
  const referred = [data[0]!, output[0]!].map((item) => ({ type: "item_reference" as const, id: item.id! }));
  const second = run.openai.responses.create({ ...ask, input: [...referred, { role: "user", content: "Sure?" }] });
  expect(await says("Yes.")).toMatch(/<｜User｜>Where is red-fox\?<｜Assistant｜>.*In bay 42\..*<｜User｜>Sure\?/s);
  await second;
  const unknown = run.openai.responses.create({ ...ask, input: [{ type: "item_reference", id: data[0]!.id!.replace(/\d+$/, "7") }] });
  await expect(unknown).rejects.toMatchObject({ status: 400, param: "input[0].id" });
});

test("what is wrong with an item is told by its place in the request, whatever was said before", async () => {
  const first = run.openai.responses.create(ask);
  await says("In bay 42.");
  const { id: previous_response_id } = await first;
  const output = { type: "function_call_output" as const, call_id: "call_nobody_made", output: "42" };
  const refused = (input: ResponseInput, param: string) =>
    expect(run.openai.responses.create({ ...ask, previous_response_id, input })).rejects.toMatchObject({ status: 400, param });
  await refused([output], "input[0].call_id");
  await refused([{ role: "user", content: "Where?" }, output], "input[1].call_id");
});

test("what was not to be stored is neither retrieved nor continued", async () => {
  const answer = run.openai.responses.create({ ...ask, store: false });
  await says("In bay 42.");
  const { id } = await answer;
  await expect(run.openai.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
  const continued = run.openai.responses.create({ ...ask, previous_response_id: id });
  await expect(continued).rejects.toMatchObject({ status: 400, code: "previous_response_not_found", param: "previous_response_id" });
});
