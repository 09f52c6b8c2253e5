import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import OpenAI from "openai";
import { expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { findBatch } from "../../../services/shared/batches/batch.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
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

/** A batch of long lines, and a coordinator at work on it; nobody answers what it submits. `read`: parts of the file, so far. */
async function begun(lines: number, settings: Record<string, string> = {}) {
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
  const model = await openServedModel(config);
  const more = { unknown: "x".repeat(LINE_BYTES) };
  const { id } = await createBatch(
    client,
    Array.from({ length: lines }, (_, i) => JSON.stringify(chatLine(`${i}`, "Where?", more))),
  );
  const before = heapBytes();
  const stop = new AbortController();
  const deps = { bus: { ...bus, files }, model, config, log: silentLog, metrics: openMetrics(), clock: systemClock, random: systemRandom };
  const coordinator = coordinate(deps, stop.signal);
  return {
    ...{ bus, id, before, partsRead: () => parts },
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
  const { bus, id, partsRead, end } = await begun(100, { LONGSHORE_QUEUE_JOBS_MAX: "1", LONGSHORE_CLAIM_MS: "400" });
  const batch = async () => (await findBatch(bus, "default", id))!.batch;
  const parts = 96; // of the file, which is read whole once; then line by line, of one or two parts each
  await expect.poll(partsRead, { timeout: 30_000 }).toBeGreaterThan(parts + 30);
  const { turn } = await batch();
  await expect.poll(async () => (await batch()).turn, { timeout: 30_000 }).toBeGreaterThan(turn + 5); // it had time for more
  expect(partsRead()).toBeLessThan(parts + 85); // 34 lines
  await end();
});
