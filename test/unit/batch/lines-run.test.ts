import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import OpenAI from "openai";
import { expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { lineJobId } from "../../../services/batch/run-line.ts";
import { findBatch } from "../../../services/shared/batches/batch.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import type { LogRecord } from "../../../services/shared/bus/events.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { playJob, testApi } from "../../support/api.ts";
import { batchUntil, chatLine, createBatch, hasEnded, outputLines } from "../../support/batches.ts";
import { held } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";

setFlagsFromString("--expose_gc");
const collect = runInNewContext("gc") as () => void;
const heapBytes = () => {
  collect();
  return process.memoryUsage().heapUsed;
};

const LINE_BYTES = 1_000_000;

/** A batch of long lines, and a coordinator at work on it; nobody answers what it submits. Counts parts of the file that were read, and prompts encoded. */
async function begun(
  lines: number,
  settings: Record<string, string> = {},
  registry: (bus: Bus) => Bus["registry"] = (bus) => bus.registry,
) {
  const bus = openBus({ url: "memory:" });
  let parts = 0;
  const files = overriding(bus.files, {
    get: (key: string) => {
      parts++;
      return bus.files.get(key);
    },
  });
  const api = await testApi({}, bus);
  const client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
  const config = loadConfig({ LONGSHORE_BEAT_MS: "100", ...settings });
  const served = await openServedModel(config);
  let prompts = 0;
  const tokenizer = overriding(served.tokenizer, {
    encode: (text: string, tokensMax?: number) => {
      prompts++;
      return served.tokenizer.encode(text, tokensMax);
    },
  });
  const model = { ...served, tokenizer };
  const more = { unknown: "x".repeat(LINE_BYTES) };
  const { id } = await createBatch(
    client,
    Array.from({ length: lines }, (_, i) => JSON.stringify(chatLine(`${i}`, "Where?", more))),
  );
  const before = heapBytes();
  const stop = new AbortController();
  const deps = {
    bus: { ...bus, files, registry: registry(bus) },
    model,
    config,
    log: silentLog,
    metrics: openMetrics(),
    clock: systemClock,
    random: systemRandom,
  };
  const coordinator = coordinate(deps, stop.signal);
  return {
    ...{ bus, before, partsRead: () => parts, promptsEncoded: () => prompts },
    /** Writes of the coordinator: it looks at its lines before each. */
    turn: async () => (await findBatch(bus, "default", id))!.batch.turn,
    end: async () => {
      stop.abort(new Error("over"));
      await coordinator;
      await api.close();
    },
  };
}

test("what a line asks is not held while its answer is waited for", async () => {
  const { bus, before, end } = await begun(40);
  await expect.poll(async () => (await bus.queue.messages("prefill")).length, { timeout: 30_000 }).toBe(40);
  expect(heapBytes() - before, "held for all lines").toBeLessThan(10 * LINE_BYTES);
  await end();
});

test("of lines that find no room no more are read than may be held", async () => {
  const { turn, partsRead, end } = await begun(60, { LONGSHORE_QUEUE_JOBS_MAX: "1", LONGSHORE_CLAIM_MS: "400" });
  const parts = 58; // of the file, which is read whole once; then line by line, of one or two parts each
  await expect.poll(partsRead, { timeout: 30_000 }).toBeGreaterThan(parts + 30);
  const before = await turn();
  await expect.poll(turn, { timeout: 30_000 }).toBeGreaterThan(before + 5); // it had time for more
  expect(partsRead()).toBeLessThan(parts + 85); // 34 lines
  await end();
});

test("a line that is not taken at once is not encoded anew with each try", async () => {
  let refused = 0;
  const { bus, promptsEncoded, end } = await begun(1, {}, ({ registry }) =>
    overriding(registry, {
      noteJob: async (jobId: string, note: string) => {
        if (refused++ < 5) throw new ServingError("UNAVAILABLE", "the record is away");
        await registry.noteJob(jobId, note);
      },
    }),
  );
  await expect.poll(async () => (await bus.queue.messages("prefill")).length, { timeout: 30_000 }).toBe(1);
  expect([refused, promptsEncoded()]).toEqual([6, 1]);
  await end();
});

test("large answers are let go while they grow, and read once they have ended, no more at once than may be held", async () => {
  const [lines, tokens] = [6, 2_048];
  const config = loadConfig({ LONGSHORE_BEAT_MS: "100" });
  const bus = openBus({ url: "memory:" });
  const model = await openServedModel(config);
  const api = await testApi({}, bus);
  const client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
  const asked = { logprobs: true, top_logprobs: 20, max_tokens: tokens };
  const { id } = await createBatch(
    client,
    Array.from({ length: lines }, (_, i) => chatLine(`${i}`, "Where?", asked)),
  );
  const jobIds = Array.from({ length: lines }, (_, i) => lineJobId(id, i, 0));

  let [reading, most] = [0, 0];
  const followed = new Map<string, number>();
  async function* follow(...args: Parameters<Bus["log"]["follow"]>): AsyncGenerator<LogRecord> {
    const times = 1 + (followed.get(args[0]) ?? 0); // as it grows, then to its end, then all of it
    followed.set(args[0], times);
    if (times < 3) return yield* bus.log.follow(...args);
    most = Math.max(most, ++reading);
    try {
      yield* bus.log.follow(...args);
    } finally {
      reading--;
    }
  }
  const stop = new AbortController();
  const given = { bus: { ...bus, log: overriding(bus.log, { follow }) }, model, config, log: silentLog, metrics: openMetrics() };
  const coordinator = coordinate({ ...given, clock: systemClock, random: systemRandom }, stop.signal);

  await expect.poll(() => followed.size, { timeout: 30_000 }).toBe(lines);
  const score = { logprob: -0.5, top: Array.from({ length: 20 }, (_, i) => ({ id: 40 + i, logprob: -1.5 - i })) };
  const answering = await Promise.all(
    jobIds.map(async (jobId) => {
      const prefill = held(await bus.log.claim(jobId, "prefill", "w"));
      await prefill.append({ type: "handed_over", token: 40, boundary: 3, cached: 0, recomputed: 3, logprobs: score });
      const decode = held(await bus.log.claim(jobId, "decode", "w"));
      for (let first = 1; first < tokens; first += 64) {
        const count = Math.min(64, tokens - first);
        await decode.append({ type: "tokens", first, ids: Array(count).fill(40), logprobs: Array(count).fill(score) });
      }
      return decode;
    }),
  );
  await expect.poll(() => [...followed.values()], { timeout: 30_000 }).toEqual(Array(lines).fill(2));
  const usage = { promptTokens: 3, completionTokens: tokens, cachedTokens: 0 };
  for (const decode of answering) await decode.append({ type: "finished", reason: "stop", usage });
  const batch = await batchUntil(client, id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { completed: lines } });
  expect([1, 2]).toContain(most); // 2,048 x 21 log probabilities are 13 MB
  for (const { response } of await outputLines(client, batch.output_file_id))
    expect(response?.body).toMatchObject({ choices: [{ logprobs: { content: { length: tokens } } }] });
  stop.abort(new Error("over"));
  await coordinator;
  await api.close();
});

test("a last line that comes to nothing while the coordinator looks elsewhere is no line that is done", async () => {
  const memory = openBus({ url: "memory:" });
  let looksAgain = () => {};
  const lookedAgain = new Promise<void>((resolve) => {
    looksAgain = resolve;
  });
  let reads = 0;
  const files = overriding(memory.files, {
    get: async (key: string) => {
      if (++reads === 1) return memory.files.get(key); // to validate it; then it is gone
      await lookedAgain;
      return null;
    },
  });
  const log = overriding(memory.log, {
    nowMs: async (seenMs?: number) => {
      if (reads > 1 && seenMs === undefined) {
        looksAgain();
        await setImmediate(); // by then the line has failed
      }
      return memory.log.nowMs(seenMs);
    },
  });
  const config = loadConfig({ LONGSHORE_BEAT_MS: "100", LONGSHORE_CLAIM_MS: "400" });
  const api = await testApi({}, memory);
  const client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
  const { id } = await createBatch(client, [chatLine("0", "Where?")]);
  const stop = new AbortController();
  const given = { bus: { ...memory, files, log }, model: await openServedModel(config), config, log: silentLog, metrics: openMetrics() };
  const coordinator = coordinate({ ...given, clock: systemClock, random: systemRandom }, stop.signal);
  const batch = await batchUntil(client, id, hasEnded, 30_000);
  expect(batch).toMatchObject({ status: "failed", errors: { data: [{ code: "file_not_found" }] } });
  stop.abort(new Error("over"));
  await coordinator;
  await api.close();
});

test("a line whose job the record lost, as behind a power cut, is submitted again: that it is gone is no answer to it", async () => {
  const bus = openBus({ url: "memory:" });
  const config = loadConfig({ LONGSHORE_BEAT_MS: "100", LONGSHORE_CLAIM_MS: "400" });
  const api = await testApi({}, bus);
  const client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
  const { id } = await createBatch(client, [chatLine("0", "Where?"), chatLine("1", "Where?")]);
  const stop = new AbortController();
  const model = await openServedModel(config);
  const deps = { bus, model, config, log: silentLog, metrics: openMetrics(), clock: systemClock, random: systemRandom };
  const coordinator = coordinate(deps, stop.signal);
  const waiting = async () => (await bus.queue.messages("prefill")).length;
  await expect.poll(waiting, { timeout: 30_000 }).toBe(2);
  const lost = lineJobId(id, 0, 0);
  await bus.queue.withdraw("prefill", lost);
  await bus.log.delete(lost);
  await expect.poll(waiting, { timeout: 30_000 }).toBe(2);
  for (const token of [300, 301]) await playJob(bus, model.name, { ids: [token] });
  const batch = await batchUntil(client, id, hasEnded, 30_000);
  expect(batch).toMatchObject({ status: "completed", request_counts: { completed: 2, failed: 0 } });
  stop.abort(new Error("over"));
  await coordinator;
  await api.close();
});
