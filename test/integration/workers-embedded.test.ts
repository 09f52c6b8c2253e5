import { afterAll, beforeAll, expect, test } from "vitest";
import { type Embedded, startEmbedded } from "../../services/cli/embedded.ts";
import type { JobRequest } from "../../services/shared/bus/events.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { answered, eventsOf } from "../support/answers.ts";
import { decode } from "../support/decode.ts";
import { promptIds } from "../support/model.ts";
import { stepped } from "../support/stepped.ts";
import { requestOf, submitJob } from "../support/workers.ts";

let cluster: Embedded;

beforeAll(async () => {
  const config = loadConfig({ LONGSHORE_ENGINE: "weightless", LONGSHORE_SEGMENT_TOKENS: "128", LONGSHORE_CHUNK_TOKENS: "256" });
  cluster = await startEmbedded({ config, log: silentLog, metrics: openMetrics(), prefillWorkers: 2, decodeWorkers: 2 });
});
afterAll(() => cluster.stop());

let jobs = 0;
async function answer(changes: Partial<JobRequest>) {
  const jobId = `job-${++jobs}`;
  const request = requestOf({ model: cluster.opened.model, stopIds: [cluster.opened.tokenizer.ids.eos], ...changes });
  await submitJob(cluster.bus, jobId, request);
  return answered(await eventsOf(cluster.bus, jobId));
}

/** The engine under the cluster, asked without it. */
async function direct(prompt: Int32Array, count: number): Promise<number[]> {
  const { engine } = cluster.opened;
  const sample = requestOf({}).sampling;
  const { sequence } = await engine.open({ segments: [], boundary: null });
  let token = 0;
  for (let at = 0; at < prompt.length; at += 256) token = (await engine.prefill(sequence, prompt.slice(at, at + 256), { sample })).token!;
  const ids = [token];
  while (ids.length < count) ids.push(stepped((await engine.step([{ sequence, token: ids.at(-1)!, sample }]))[0]).token);
  await engine.close(sequence);
  return ids;
}

test("the cluster in one process, all workers on one engine: the ids of that engine alone", async () => {
  const prompts = Array.from({ length: 8 }, (_, i) => promptIds(400 + 100 * i, i % 3));
  const answers = await Promise.all(prompts.map((ids) => answer({ prompt: { ids }, stopIds: [], maxTokens: 60 })));
  for (const [i, { ids }] of answers.entries()) expect(ids).toEqual(await direct(prompts[i]!, 60));
  expect(cluster.store.stats()).toMatchObject({ damaged: 0, failures: 0 });
});

test("a stop string ends the answer with the token that completes it, by the model's own text", async () => {
  const prompt = promptIds(300, 5);
  const ids = await direct(prompt, 60);
  const text = decode(cluster.opened.tokenizer, ids.slice(20, 24));
  const stop = text.replaceAll("\uFFFD", "").slice(0, 12);
  const found = await answer({ prompt: { ids: prompt }, stopIds: [], stop: [stop], maxTokens: 60 });
  expect(found.end).toMatchObject({ type: "finished", reason: "stop" });
  expect(found.ids).toEqual(ids.slice(0, found.ids.length));
  const whole = decode(cluster.opened.tokenizer, found.ids);
  expect(whole).toContain(stop);
  expect(decode(cluster.opened.tokenizer, found.ids.slice(0, -1))).not.toContain(stop);
});

test("chunks of one job, longer than a claim lives, cost another no claim: all wait for the same engine", async () => {
  const slow = await startEmbedded({
    config: loadConfig({
      LONGSHORE_ENGINE: "weightless",
      LONGSHORE_CLAIM_MS: "1500",
      LONGSHORE_WEIGHTLESS_CHUNK_MS: "2000",
      LONGSHORE_CHUNK_TOKENS: "256",
    }),
    log: silentLog,
    metrics: openMetrics(),
    decodeWorkers: 2,
  });
  const submit = (jobId: string, ids: Int32Array) =>
    submitJob(slow.bus, jobId, requestOf({ model: slow.opened.model, prompt: { ids }, stopIds: [], maxTokens: 6 }));
  await submit("short", promptIds(20));
  await submit("long", promptIds(1_500, 1));
  const epochs = (await eventsOf(slow.bus, "short")).map(({ epoch }) => epoch);
  expect(Math.max(...epochs)).toBe(2);
  await slow.bus.registry.markCancelled("long", "the test");
  await slow.stop();
});
