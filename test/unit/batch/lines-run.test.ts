import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import OpenAI from "openai";
import { expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { findBatch } from "../../../services/shared/batches/batch.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { testApi } from "../../support/api.ts";
import { chatLine, createBatch } from "../../support/batches.ts";
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
  const { turn, partsRead, end } = await begun(100, { LONGSHORE_QUEUE_JOBS_MAX: "1", LONGSHORE_CLAIM_MS: "400" });
  const parts = 96; // of the file, which is read whole once; then line by line, of one or two parts each
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
