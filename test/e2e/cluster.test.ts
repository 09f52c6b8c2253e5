import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { generateText, streamText } from "ai";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openClient } from "../../services/cli/client.ts";
import { generateYardlog, yardlogMessage } from "../../services/cli/yardlog.ts";
import { Tokenizer } from "../../services/shared/engine/tokenizer/tokenizer.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { batchUntil, chatLine, createBatch, hasEnded, outputLines } from "../support/batches.ts";
import { type LocalCluster, startLocalCluster } from "../support/cluster.ts";
import { type Client, call, closeClients, jobsAt, updatesOf } from "../support/grpc.ts";

interface Golden {
  readonly tokens: number;
  readonly prompt: string;
  readonly answer: string;
  readonly answer_ids: readonly number[];
}

/** The model's own prompts with the answers of its reference; every eighth, from the shortest to the longest. */
const goldens = (JSON.parse(readFileSync("deploy/models/yardlog/prompts.json", "utf8")) as Golden[]).filter((_, i) => i % 8 === 0);
const contentOf = (prompt: string) => /<｜User｜>([\s\S]*)<｜Assistant｜>/.exec(prompt)![1]!;

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await startLocalCluster({ LONGSHORE_CLAIM_MS: "3000" });
});
afterAll(() => cluster?.stop());

const openai = (replica: number) => new OpenAI({ baseURL: `${cluster.apis[replica]}/v1`, apiKey: "none", maxRetries: 0 });

test("the compose file's cluster runs: two of each role, the record and the cache", () => {
  expect([...cluster.pids.keys()].sort()).toEqual([
    "api-1",
    "api-2",
    "batch-1",
    "batch-2",
    "decode-1",
    "decode-2",
    "nats-1",
    "prefill-1",
    "prefill-2",
    "redis-1",
  ]);
});

test("the official client gets the reference's answers, whole and streamed, from either replica", async () => {
  for (const [i, { prompt, answer }] of goldens.entries()) {
    const request = { model: "yardlog", messages: [{ role: "user" as const, content: contentOf(prompt) }] };
    const whole = await openai(i % 2).chat.completions.create(request);
    expect(whole.choices[0]!.message.content).toBe(answer);
    let streamed = "";
    for await (const chunk of await openai((i + 1) % 2).chat.completions.create({ ...request, stream: true })) {
      streamed += chunk.choices[0]?.delta.content ?? "";
    }
    expect(streamed).toBe(answer);
  }
});

test("a prompt asked again on the other replica finds its segments in the cache", async () => {
  const { prompt, tokens } = goldens.findLast(({ tokens }) => tokens > 1_100)!;
  const request = { model: "yardlog", messages: [{ role: "user" as const, content: contentOf(prompt) }] };
  const first = await openai(0).chat.completions.create(request);
  const { choices, usage } = await openai(1).chat.completions.create(request);
  expect(usage).toMatchObject({ prompt_tokens: tokens, prompt_tokens_details: { cached_tokens: 512 * Math.floor((tokens - 1) / 512) } });
  expect(choices).toEqual(first.choices);
});

test("kill -9 of both prefill workers in the middle of a long prompt costs time and nothing else", async () => {
  const tokenizer = await Tokenizer.load("deploy/models/yardlog");
  const log = await generateYardlog({ folder: "deploy/models/yardlog", tokenizer, random: seededRandom(7), tokens: 20_000, questions: 1 });
  const [{ question, truth }] = log.questions as [{ question: string; truth: string }];
  const request = { model: "yardlog", messages: [{ role: "user", content: yardlogMessage(log.text, question) }] };
  const client = openClient(cluster.apis[0]!, undefined);
  const { id } = (await client.post("/v1/jobs", { kind: "chat", request })) as { id: string };
  let killed = false;
  for await (const { name, data } of client.events(`/v1/jobs/${id}/events`, 60_000)) {
    if (killed || name !== "progress" || (JSON.parse(data) as { done: number }).done === 0) continue; // nearly all of it is still to come
    for (const worker of ["prefill-1", "prefill-2"]) process.kill(cluster.pids.get(worker)!, "SIGKILL");
    killed = true;
  }
  const job = (await client.get(`/v1/jobs/${id}`)) as {
    attempts: { phase: string }[];
    result: { choices: { message: { content: string } }[] };
  };
  expect(killed).toBe(true);
  expect(job.attempts.filter(({ phase }) => phase === "prefill").length).toBeGreaterThan(1);
  expect(job.result.choices[0]!.message.content).toBe(truth);
});

test("several answers with their log probabilities, drawn by any worker: the same from either replica, in one piece and streamed", async () => {
  const messages = [{ role: "user" as const, content: contentOf(goldens[0]!.prompt) }];
  const request = { model: "yardlog", messages, n: 3, seed: 3, temperature: 1, presence_penalty: 0.5, logprobs: true, top_logprobs: 2 };
  const { choices } = await openai(0).chat.completions.create(request);
  const streamed = choices.map(() => ({ content: "", tokens: [] as object[] }));
  for await (const chunk of await openai(1).chat.completions.create({ ...request, stream: true })) {
    for (const { index, delta, logprobs } of chunk.choices) {
      streamed[index]!.content += delta.content ?? "";
      streamed[index]!.tokens.push(...(logprobs?.content ?? []));
    }
  }
  expect(streamed).toEqual(choices.map(({ message, logprobs }) => ({ content: message.content, tokens: logprobs!.content })));
});

test("a batch created at one replica has the reference's answers in the file that the other one gives", async () => {
  const lines = goldens.map(({ prompt }, i) => chatLine(`${i}`, contentOf(prompt), { max_tokens: 100, temperature: 0 }));
  const { id } = await createBatch(openai(0), [...lines, chatLine("bad", "", { max_tokens: 0 })]);
  const batch = await batchUntil(openai(1), id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: goldens.length + 1, completed: goldens.length, failed: 1 } });
  const output = await outputLines(openai(1), batch.output_file_id);
  const answers = new Map(output.map(({ custom_id, response }) => [custom_id, response!.body as never as OpenAI.ChatCompletion]));
  expect(goldens.map((_, i) => answers.get(`${i}`)!.choices[0]!.message.content)).toEqual(goldens.map(({ answer }) => answer));
  expect((await outputLines(openai(0), batch.error_file_id)).map(({ custom_id }) => custom_id)).toEqual(["bad"]);
});

test("Anthropic's client gets the reference's answers, whole and streamed, from either replica", async () => {
  const anthropic = (replica: number) => new Anthropic({ baseURL: cluster.apis[replica]!, apiKey: "none", maxRetries: 0 });
  const { prompt, answer, tokens } = goldens[0]!;
  const request = { model: "yardlog", max_tokens: 50, messages: [{ role: "user" as const, content: contentOf(prompt) }] };
  const whole = await anthropic(0).messages.create(request);
  expect(whole).toMatchObject({ content: [{ type: "text", text: answer }], stop_reason: "end_turn" });
  expect(whole.usage.input_tokens + whole.usage.cache_read_input_tokens!).toBe(tokens);
  expect((await anthropic(1).messages.stream(request).finalMessage()).content).toMatchObject(whole.content);
});

test("responses: in the background and streamed, told by either replica from any place on, continued and cancelled", async () => {
  const [{ prompt, answer }] = goldens as [Golden];
  const request = { model: "yardlog", input: contentOf(prompt) };
  const { id } = await openai(0).responses.create({ ...request, background: true });
  const events = [];
  for await (const event of await openai(1).responses.retrieve(id, { stream: true })) events.push(event);
  expect(events.at(-1)).toMatchObject({ type: "response.completed", response: { status: "completed" } });
  expect(await openai(0).responses.retrieve(id)).toMatchObject({ status: "completed", output_text: answer });
  const rest = [];
  for await (const event of await openai(0).responses.retrieve(id, { stream: true, starting_after: 5 })) rest.push(event);
  expect(rest).toEqual(events.slice(6));
  expect((await openai(1).responses.stream(request).finalResponse()).output_text).toBe(answer);
  const next = await openai(1).responses.create({ model: "yardlog", previous_response_id: id, input: "And?", max_output_tokens: 4 });
  expect(next.usage!.input_tokens).toBeGreaterThan((events.at(-1) as { response: OpenAI.Responses.Response }).response.usage!.input_tokens);
  const long = await openai(0).responses.create({ ...request, input: "A long story. ".repeat(8_000), background: true });
  expect(long.status).toMatch(/^(queued|in_progress)$/); // a short answer may have ended by then
  expect((await openai(1).responses.cancel(long.id)).status).toMatch(/^(cancelled|completed)$/);
});

test("over gRPC: a job is submitted at one replica, watched at the other and got as HTTP tells it", async () => {
  const [one, other] = cluster.grpcs.map((address) => jobsAt(address)) as [Client, Client];
  try {
    const [{ prompt, answer, tokens }] = goldens as [Golden];
    const request = { model: "yardlog", chat: { messages: [{ role: "user", content: contentOf(prompt) }] } };
    const { id } = await call(one, "Submit", request);
    const updates = await updatesOf(other.Watch!({ id }));
    expect(updates.flatMap(({ deltas }) => deltas.map(({ content }) => content ?? "")).join("")).toBe(answer);
    expect(updates.at(-1)).toMatchObject({ status: "JOB_STATUS_FINISHED", finish_reason: "stop", usage: { prompt_tokens: tokens } });
    expect(await openClient(cluster.apis[1]!, undefined).get(`/v1/jobs/${id}`)).toMatchObject({
      status: "finished",
      prompt_tokens: tokens,
    });
  } finally {
    closeClients();
  }
});

test("the ai package gets the reference's answer, whole and streamed", async () => {
  const [{ prompt, answer }] = goldens as [Golden];
  const model = (replica: number) =>
    createOpenAICompatible({ name: "longshore", baseURL: `${cluster.apis[replica]}/v1`, apiKey: "none" })("yardlog");
  expect((await generateText({ model: model(0), prompt: contentOf(prompt), maxRetries: 0 })).text).toBe(answer);
  expect(await streamText({ model: model(1), prompt: contentOf(prompt), maxRetries: 0 }).text).toBe(answer);
});

test("a prompt of ids gives the logged ids of the engine alone", async () => {
  const { prompt, answer } = goldens[0]!;
  const completion = await openai(0).completions.create({ model: "yardlog", prompt, temperature: 0 });
  expect(completion.choices[0]!.text).toBe(answer);
});

test("an error of the API is the client's own error class", async () => {
  await expect(openai(0).chat.completions.create({ model: "other", messages: [] })).rejects.toBeInstanceOf(OpenAI.BadRequestError);
  await expect(openai(0).chat.completions.create({ model: "other", messages: [{ role: "user", content: "" }] })).rejects.toBeInstanceOf(
    OpenAI.NotFoundError,
  );
});
