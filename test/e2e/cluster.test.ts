import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type LocalCluster, startLocalCluster } from "../support/cluster.ts";

interface Golden {
  readonly prompt: string;
  readonly answer: string;
  readonly answer_ids: readonly number[];
}

/** The model's own prompts with the answers of its reference; every eighth, from the shortest to the longest. */
const goldens = (JSON.parse(readFileSync("deploy/models/yardlog/prompts.json", "utf8")) as Golden[]).filter((_, i) => i % 8 === 0);
const contentOf = (prompt: string) => /<｜User｜>([\s\S]*)<｜Assistant｜>/.exec(prompt)![1]!;

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await startLocalCluster();
}, 90_000);
afterAll(() => cluster?.stop(), 60_000);

const openai = (replica: number) => new OpenAI({ baseURL: `${cluster.apis[replica]}/v1`, apiKey: "none", maxRetries: 0 });

test("the compose file's cluster runs: two of each role, the record and the cache", () => {
  expect([...cluster.pids.keys()].sort()).toEqual([
    "api-1",
    "api-2",
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

test("the second question about a document finds its segments in the cache", async () => {
  const request = { model: "yardlog", messages: [{ role: "user" as const, content: contentOf(goldens.at(-1)!.prompt) }] };
  const { usage } = await openai(0).chat.completions.create(request);
  expect(usage!.prompt_tokens_details!.cached_tokens).toBeGreaterThanOrEqual(512);
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
