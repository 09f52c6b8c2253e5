import type OpenAI from "openai";
import { expect, test } from "vitest";
import { responsesSurface } from "../../../../services/api/responses/surface.ts";
import { ServingError } from "../../../../services/shared/runtime/errors.ts";
import { type Script, testApi } from "../../../support/api.ts";
import { collect } from "../../../support/bus.ts";
import { freshClients, openaiOf } from "../../../support/clients.ts";
import { ask, CALLS, callsRequest, order } from "../../../support/responses.ts";

const run = freshClients({ graceMs: 50 });
const { says } = run;

test("from behind any event on, any replica tells exactly the rest", async () => {
  const other = await testApi({}, run.api.bus);
  try {
    const stream = run.openai.responses.create({ ...callsRequest, stream: true });
    const played = says(CALLS);
    const events = await collect(await stream);
    await played;
    const { id } = (events[0] as { response: { id: string } }).response;
    const elsewhere = openaiOf(other.url);
    expect(await collect(await elsewhere.responses.retrieve(id, { stream: true }))).toEqual(events);
    for (let n = 0; n < events.length; n++)
      expect(await collect(await elsewhere.responses.retrieve(id, { stream: true, starting_after: n })), `after ${n}`).toEqual(
        events.slice(n + 1),
      );
    expect(await collect(await elsewhere.responses.retrieve(id, { stream: true, starting_after: -1 }))).toEqual(events);
    await expect(elsewhere.responses.retrieve(id, { stream: true, starting_after: -2 })).rejects.toMatchObject({
      status: 400,
      param: "starting_after",
    });
  } finally {
    await other.close();
  }
});

test("in the background: queued at once, in progress without readers, completed in the record", async () => {
  const queued = await run.openai.responses.create({ ...ask, background: true });
  expect(queued).toMatchObject({ status: "queued", background: true, output: [], usage: null });
  const events = collect(await run.openai.responses.retrieve(queued.id, { stream: true }));
  let during: OpenAI.Responses.Response | undefined;
  await says("In bay 42.", async (claim, { promptTokens }) => {
    during = await run.openai.responses.retrieve(queued.id);
    await claim.append({ type: "finished", reason: "length", usage: { promptTokens, completionTokens: 5, cachedTokens: 2 } });
  });
  expect(during).toMatchObject({ status: "in_progress", output: [{ status: "in_progress" }], completed_at: null });
  const done = await run.openai.responses.retrieve(queued.id);
  expect(done).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    output: [{ status: "incomplete" }],
    usage: { input_tokens_details: { cached_tokens: 2 } },
  });
  expect(order(await events).slice(0, 4)).toEqual(["created", "queued", "in_progress", "output_item.added"]);
  expect(order(await events).at(-1)).toBe("incomplete");
});

test("a response in the background is cancelled, once and again, and then deleted", async () => {
  const { id } = await run.openai.responses.create({ ...ask, background: true });
  const events = collect(await run.openai.responses.retrieve(id, { stream: true }));
  await expect(run.openai.responses.delete(id)).rejects.toMatchObject({ status: 409 });
  expect(await run.openai.responses.cancel(id)).toMatchObject({ id, status: "cancelled", error: null });
  expect(await run.openai.responses.cancel(id)).toMatchObject({ id, status: "cancelled" });
  expect((await events).at(-1)).toMatchObject({ type: "response.failed", response: { status: "cancelled" } });
  await run.openai.responses.delete(id);
  await expect(run.openai.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
});

test("a response whose job failed says so: by status to whoever waits, in band to readers of the stream, in the object afterwards", async () => {
  const fails: Script["end"] = async (claim) => void (await claim.append({ type: "failed", code: "INTERNAL", message: "secret" }));
  const waiting = expect(run.openai.responses.create(ask)).rejects.toMatchObject({ status: 500 });
  await says("In bay", fails);
  await waiting;
  const stream = run.openai.responses.create({ ...ask, stream: true });
  const played = says("In bay", fails);
  const events = await collect(await stream);
  await played;
  const failed = { status: "failed", error: { code: "server_error" }, output: [{ status: "incomplete" }] };
  expect(events.at(-1)).toMatchObject({ type: "response.failed", response: failed });
  expect(JSON.stringify(events)).not.toContain("secret");
  const { id } = (events[0] as { response: { id: string } }).response;
  expect(await run.openai.responses.retrieve(id)).toMatchObject(failed);
});

test("a replica that stops ends the stream with an error, not with the response's end, and behind its number nothing is missed", async () => {
  const other = await testApi({}, run.api.bus);
  const { id } = await run.openai.responses.create({ ...ask, background: true });
  const streams = await Promise.all(["", "&starting_after=5"].map((after) => fetch(`${other.url}/v1/responses/${id}?stream=true${after}`)));
  await other.close();
  const [events, resumed] = await Promise.all(streams.map(async (stream) => eventsIn(await stream.text())));
  expect(events).toMatchObject([
    { sequence_number: 0 },
    { sequence_number: 1 },
    { type: "error", code: "shutting_down", sequence_number: 1 },
  ]);
  expect(resumed).toMatchObject([{ type: "error", code: "shutting_down", sequence_number: 5 }]);
  const rest = collect(await run.openai.responses.retrieve(id, { stream: true, starting_after: 1 }));
  await says("In bay 42.");
  expect([...events!.slice(0, 2), ...(await rest)]).toEqual(await collect(await run.openai.responses.retrieve(id, { stream: true })));
});

test("the error of a stream that had no event yet has the number before the first", () => {
  const written = { jobId: "job_1", model: "m", created: 0, background: true, echo: { fields: {}, encrypted: false } };
  const [error] = responsesSurface(written as never, -1).failure(new ServingError("UNAVAILABLE", "m"));
  expect(JSON.parse(error!.data)).toMatchObject({ type: "error", sequence_number: -1 });
});

const eventsIn = (text: string): object[] => [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data!));
