import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../services/cli/serve.ts";
import { batchOf } from "../../services/shared/batches/batch.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { batchUntil, chatLine, createBatch, hasEnded, jsonLines, outputLines } from "../support/batches.ts";
import { stepwise } from "../support/stepwise.ts";

let cluster: Served;
let client: OpenAI;
let allow: (steps: number) => void;

beforeAll(async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_SEGMENT_TOKENS: "128", LONGSHORE_PORT: "0", LONGSHORE_BEAT_MS: "100" };
  cluster = await serveEmbedded(loadConfig(settings), silentLog);
  allow = stepwise(cluster.cluster.opened.engine);
  client = new OpenAI({ baseURL: `${cluster.api.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => cluster.stop());

const seeded = (i: number) => ({ seed: i, temperature: 1 });

test("each line has the answer of its request alone, once, and the batch says so", async () => {
  const lines = Array.from({ length: 40 }, (_, i) => chatLine(`line ${i}`, `Where is crate ${i % 7}? `.repeat(20), seeded(i)));
  const created = await createBatch(client, lines, { metadata: { yard: "north" } });
  expect(created.status).toBe("validating");
  const batch = await batchUntil(client, created.id, hasEnded);
  expect(batch).toMatchObject({
    status: "completed",
    model: "yardlog",
    errors: null,
    error_file_id: null,
    request_counts: { total: 40, completed: 40, failed: 0 },
    metadata: { yard: "north" },
  });
  const moments = [batch.created_at, batch.in_progress_at!, batch.finalizing_at!, batch.completed_at!];
  expect(moments).toEqual(moments.toSorted((a, b) => a - b));
  const output = await outputLines(client, batch.output_file_id);
  expect(output.map(({ custom_id }) => custom_id).toSorted()).toEqual(lines.map(({ custom_id }) => custom_id).toSorted());
  expect(new Set(output.map(({ id }) => id)).size).toBe(40);
  const usage = { input_tokens: 0, output_tokens: 0 };
  for (const { custom_id, response, error } of output) {
    const { body } = lines.find((line) => line.custom_id === custom_id)!;
    const alone = await client.chat.completions.create(body as OpenAI.ChatCompletionCreateParamsNonStreaming);
    const answer = response!.body as never as OpenAI.ChatCompletion;
    expect([response!.status_code, error]).toEqual([200, null]);
    expect(answer.choices).toEqual(alone.choices);
    usage.input_tokens += answer.usage!.prompt_tokens;
    usage.output_tokens += answer.usage!.completion_tokens;
  }
  expect(batch.usage).toMatchObject({ ...usage, total_tokens: usage.input_tokens + usage.output_tokens });
  const file = await client.files.retrieve(batch.output_file_id!);
  expect(file).toMatchObject({ purpose: "batch_output", filename: `${batch.id}_output.jsonl` });
  expect((await client.files.list({ purpose: "batch_output" })).data.map(({ id }) => id)).toEqual([batch.output_file_id]);
});

test("lines that fail stand in the error file, the others in the output file, and the batch is completed", async () => {
  const bad = { messages: "none" };
  const lines = [chatLine("good", "Hello."), chatLine("bad", "", bad), chatLine("late", "x".repeat(20_000), { deadline_seconds: 1e-6 })];
  const batch = await batchUntil(client, (await createBatch(client, lines)).id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: 3, completed: 1, failed: 2 } });
  expect((await outputLines(client, batch.output_file_id)).map(({ custom_id }) => custom_id)).toEqual(["good"]);
  const errors = new Map((await outputLines(client, batch.error_file_id)).map((line) => [line.custom_id, line]));
  expect(errors.get("bad")).toMatchObject({
    response: { status_code: 400, body: { error: { param: "messages", type: "invalid_request_error" } } },
    error: null,
  });
  expect(errors.get("late")).toMatchObject({ response: null, error: { code: "request_timeout" } });
});

test("a line that is nested without end fails alone; what a response does not know does not count as answers", async () => {
  const url = "/v1/responses";
  const line = (custom_id: string, more: object) => ({ custom_id, method: "POST", url, body: { model: "yardlog", input: "x", ...more } });
  const deep = JSON.stringify(line("deep", { input: ["DEEP"] })).replace('"DEEP"', "[".repeat(20_000) + "]".repeat(20_000));
  const lines = [line("several", { n: 2, max_output_tokens: 4 }), deep];
  const batch = await batchUntil(client, (await createBatch(client, lines, { endpoint: url })).id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: 2, completed: 1, failed: 1 } });
  expect(await outputLines(client, batch.output_file_id)).toMatchObject([{ custom_id: "several", response: { status_code: 200 } }]);
  expect(await outputLines(client, batch.error_file_id)).toMatchObject([{ custom_id: "deep", response: { status_code: 400 } }]);
});

test("a file as Windows writes it, with a mark of byte order and carriage returns, is run like any other", async () => {
  const text = `\ufeff${jsonLines([chatLine("first", "Hello."), chatLine("second", "Hello.")]).replaceAll("\n", "\r\n")}\r\n`;
  const batch = await batchUntil(client, (await createBatch(client, [text])).id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: 2, completed: 2, failed: 0 } });
});

test("all lines failed: no output file", async () => {
  const batch = await batchUntil(client, (await createBatch(client, [chatLine("bad", "", { n: 0 })])).id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", output_file_id: null, request_counts: { total: 1, completed: 0, failed: 1 } });
  expect(await outputLines(client, batch.error_file_id)).toHaveLength(1);
});

test("a file with one bad line fails as a whole, with the lines at fault", async () => {
  const lines = [
    chatLine("a", "1"),
    "{not json",
    chatLine("a", "2"),
    "",
    { ...chatLine("b", "3"), method: "GET" },
    { ...chatLine("c", "4"), url: "/v1/completions" },
    chatLine("d", "5", { model: "other" }),
    { ...chatLine("e", "6"), custom_id: undefined },
    chatLine("f", "7", { stream: true }),
  ];
  const batch = await batchUntil(client, (await createBatch(client, lines)).id, hasEnded);
  expect(batch).toMatchObject({ status: "failed", output_file_id: null, error_file_id: null, failed_at: expect.any(Number) });
  expect(batch.errors!.data!.map(({ code, line, param }) => [code, line, param])).toEqual([
    ["invalid_json_line", 2, null],
    ["duplicate_custom_id", 3, "custom_id"],
    ["invalid_method", 5, "method"],
    ["invalid_url", 6, "url"],
    ["mismatched_model", 7, "body.model"],
    ["missing_required_parameter", 8, "custom_id"],
    ["unsupported_parameter", 9, "body"],
  ]);
  expect(batch.request_counts).toEqual({ total: 0, completed: 0, failed: 0 });
});

test.each([
  ["", "empty_file"],
  ["\n \r\n\t\n", "empty_file"],
])("a file without lines (%j) fails", async (text, code) => {
  const batch = await batchUntil(client, (await createBatch(client, [text])).id, hasEnded);
  expect([batch.status, batch.errors!.data![0]!.code]).toEqual(["failed", code]);
});

test("completions and responses, several answers in a line, line ends of Windows and an empty one at the end", async () => {
  const completion = {
    custom_id: "c",
    method: "POST",
    url: "/v1/completions",
    body: { model: "yardlog", prompt: "Yard", max_tokens: 4, n: 3 },
  };
  const done = await batchUntil(
    client,
    (await createBatch(client, [`${JSON.stringify(completion)}\r`, ""], { endpoint: "/v1/completions" })).id,
    hasEnded,
  );
  const [line] = await outputLines(client, done.output_file_id);
  expect((line!.response!.body as never as OpenAI.Completion).choices.map(({ index }) => index)).toEqual([0, 1, 2]);

  const response = {
    custom_id: "r",
    method: "POST",
    url: "/v1/responses",
    body: { model: "yardlog", input: "Yard", max_output_tokens: 4 },
  };
  const batch = await batchUntil(client, (await createBatch(client, [response], { endpoint: "/v1/responses" })).id, hasEnded);
  const [answered] = await outputLines(client, batch.output_file_id);
  expect(answered!.response!.body).toMatchObject({ object: "response", output: [{ type: "message", role: "assistant" }] });
});

const LINES = 400;
const longLines = (count: number) =>
  Array.from({ length: count }, (_, i) => chatLine(`line ${i}`, `Crate ${i}`, { ...seeded(i), max_tokens: 300 }));

/** A batch of which lines have ended, and which gets no further. */
async function begun(): Promise<OpenAI.Batch> {
  allow(150); // of 32 lines each, of which the longest take 300
  const { id } = await createBatch(client, longLines(LINES));
  return batchUntil(client, id, ({ request_counts }) => request_counts!.completed > 0);
}

/** How it ends once its coordinator knows that it has to. */
async function endOf(id: string): Promise<OpenAI.Batch> {
  await batchUntil(client, id, ({ request_counts }) => {
    allow(1); // for those at work to hear of it
    return request_counts!.failed > 0;
  });
  allow(Number.POSITIVE_INFINITY);
  return batchUntil(client, id, hasEnded);
}

/** Every line is in one of the files; those that were not executed say why. */
async function expectDivided(batch: OpenAI.Batch, count: number, code: string): Promise<void> {
  const [output, errors] = [await outputLines(client, batch.output_file_id), await outputLines(client, batch.error_file_id)];
  expect(batch.request_counts).toEqual({ total: count, completed: output.length, failed: errors.length });
  expect([...output, ...errors].map(({ custom_id }) => custom_id).toSorted()).toEqual(
    longLines(count)
      .map(({ custom_id }) => custom_id)
      .toSorted(),
  );
  expect(new Set(output.map(({ response }) => response!.status_code))).toEqual(new Set([200]));
  expect(new Set(errors.map(({ response, error }) => `${response} ${error!.code}`))).toEqual(new Set([`null ${code}`]));
  expect(Math.min(output.length, errors.length)).toBeGreaterThan(0);
}

test("a batch cancelled in the middle: what has ended is in the output, the rest in the error file, and no job runs on", async () => {
  const looked = await begun();
  const { id } = looked;
  expect((await outputLines(client, looked.output_file_id)).length).toBeGreaterThanOrEqual(looked.request_counts!.completed);
  expect((await client.batches.cancel(id)).status).toBe("cancelling");
  const batch = await endOf(id);
  expect(batch).toMatchObject({
    status: "cancelled",
    cancelling_at: expect.any(Number),
    cancelled_at: expect.any(Number),
    completed_at: null,
  });
  await expectDivided(batch, LINES, "batch_cancelled");
  expect(await cluster.cluster.bus.queue.messages("prefill")).toEqual([]);
  await expect(client.batches.cancel(id)).rejects.toBeInstanceOf(OpenAI.ConflictError);
});

test("a batch whose window ends in the middle: what has ended is in the output, the rest in the error file", async () => {
  const { documents } = cluster.cluster.bus;
  const { id } = await begun();
  for (let place: number | null = null; place === null; ) {
    const document = (await documents.get("batch", "default", id))!;
    const late = { ...batchOf(document), expiresAt: Math.floor(Date.now() / 1_000) };
    place = await documents.put("batch", "default", id, JSON.stringify(late), document.place);
  }
  const ended = await endOf(id);
  expect(ended).toMatchObject({ status: "expired", expired_at: expect.any(Number) });
  await expectDivided(ended, LINES, "batch_expired");
});

test("one document, twelve questions: it is computed once, and all twelve answers share it", async () => {
  const document = Array.from({ length: 400 }, (_, i) => `crate ${(i * 7_919) % 1_000}`).join(", ");
  const lines = Array.from({ length: 12 }, (_, i) => chatLine(`${i}`, `${document}\n\nWhere is crate ${i}?`, seeded(i)));
  const batch = await batchUntil(client, (await createBatch(client, lines)).id, hasEnded);
  const usages = (await outputLines(client, batch.output_file_id)).map(
    ({ response }) => (response!.body as never as OpenAI.ChatCompletion).usage!,
  );
  const shared = 128 * Math.floor((Math.min(...usages.map(({ prompt_tokens }) => prompt_tokens)) - 40) / 128);
  const cached = usages.map(({ prompt_tokens_details }) => prompt_tokens_details!.cached_tokens!).toSorted((a, b) => a - b);
  expect(shared).toBeGreaterThan(1_000);
  expect(cached).toEqual([0, ...Array<number>(11).fill(shared)]);
  expect(batch.usage!.input_tokens_details.cached_tokens).toBe(11 * shared);
});
