import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { serveEmbedded } from "../../services/cli/serve.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { eventsOf } from "../support/answers.ts";
import { promptIds } from "../support/model.ts";
import { requestOf, submitJob } from "../support/workers.ts";

test("a job leaves its figures, and docs/metrics.md names all there are", async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_SEGMENT_TOKENS: "128", LONGSHORE_CHUNK_TOKENS: "256", LONGSHORE_PORT: "0" };
  const served = await serveEmbedded(loadConfig(settings), silentLog);
  const { cluster } = served;
  const request = requestOf({ model: cluster.opened.model, prompt: { ids: promptIds(300) }, stopIds: [], maxTokens: 5 });
  await submitJob(cluster.bus, "job", request);
  await eventsOf(cluster.bus, "job");
  await expect.poll(async () => (await cluster.bus.queue.messages("decode")).length).toBe(0); // acked: its figures are in
  const text = await (await fetch(`${served.api.url}/metrics`)).text();
  await served.stop();
  for (const line of [
    'longshore_worker_jobs_total{phase="prefill",end="handed_over"} 1',
    'longshore_worker_jobs_total{phase="decode",end="finished"} 1',
    'longshore_worker_jobs_held{phase="decode"} 0',
    'longshore_worker_wait_seconds_count{phase="prefill"} 1',
    'longshore_worker_first_token_seconds_count{lane="interactive"} 1',
    "longshore_engine_chunk_tokens_total 300",
    "longshore_engine_chunk_seconds_count 2",
    "longshore_engine_step_sequences_sum 4",
    "longshore_engine_step_tokens_total 4",
    'longshore_store_reads_total{end="hit"} 3',
  ]) {
    expect(text.split("\n")).toContain(line);
  }
  const shown = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)]
    .map(([, name, kind]) => `${name} ${kind}`)
    .filter((line) => !/^longshore_(process|nodejs)_/.test(line));
  const documented = [...readFileSync("docs/metrics.md", "utf8").matchAll(/^\| `(\w+)(?:\{.*\})?` \| (\w+) \|/gm)];
  expect(documented.map(([, name, kind]) => `${name} ${kind}`).sort()).toEqual(shown.sort());
});
