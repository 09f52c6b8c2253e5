import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cancelBatch } from "../../../services/api/files/batches.ts";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { lineJobId } from "../../../services/batch/run-line.ts";
import { type Embedded, startEmbedded } from "../../../services/cli/embedded.ts";
import { findBatch } from "../../../services/shared/batches/batch.ts";
import { storedFile } from "../../../services/shared/batches/file.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type Clock, systemClock } from "../../../services/shared/runtime/clock.ts";
import { type Config, loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { batchUntil, chatLine, createBatch, hasEnded, outputLines } from "../../support/batches.ts";
import { faultsOf } from "../../support/bus.ts";
import { Life } from "../../support/life.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const LINES = 4;
let config: Config;
let cluster: Embedded;
let api: TestApi;
let client: OpenAI;
let model: Awaited<ReturnType<typeof openServedModel>>;

beforeAll(async () => {
  config = loadConfig({ LONGSHORE_ENGINE: "weightless", LONGSHORE_CLAIM_MS: "200", LONGSHORE_BEAT_MS: "100", LONGSHORE_BATCH_LINES: "2" });
  // Coordinators die here, no workers: whoever is at work on a line keeps it, however often this process stands still for the claim of a batch.
  cluster = await startEmbedded({ config: { ...config, claimMs: 20_000 }, log: silentLog, metrics: openMetrics() });
  model = await openServedModel(config);
  api = await testApi({}, cluster.bus);
  client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await api.close();
  await cluster.stop();
});

async function start(bus: Bus, stop: AbortSignal, changes: Partial<Config> = {}, clock: Clock = systemClock): Promise<void> {
  const deps = { bus, model, log: silentLog, metrics: openMetrics(), clock, random: systemRandom };
  await coordinate({ ...deps, config: { ...config, ...changes } }, stop);
}

/** What a coordinator does to the record that lasts. `at` is called before and after each, with their number. */
function counted(bus: Bus, at: (moment: number) => Promise<void>): Bus {
  let moments = 0;
  const around = <Args extends readonly unknown[], T>(call: (...args: Args) => Promise<T>) => {
    return async (...args: Args): Promise<T> => {
      await at(++moments);
      const result = await call(...args);
      await at(++moments);
      return result;
    };
  };
  return {
    ...bus,
    documents: { ...methods(bus.documents), put: around((...args) => bus.documents.put(...args)) },
    files: { ...methods(bus.files), put: around((...args) => bus.files.put(...args)) },
    log: Object.assign(methods(bus.log), { submit: around((...args: Parameters<Bus["log"]["submit"]>) => bus.log.submit(...args)) }),
    queue: Object.assign(methods(bus.queue), {
      publish: around((...args: Parameters<Bus["queue"]["publish"]>) => bus.queue.publish(...args)),
    }),
  };
}

/** An object with the methods of another, to be replaced one by one. */
function methods<T extends object>(target: T): T {
  const copy: Record<string, unknown> = {};
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(target))) {
    const value: unknown = Reflect.get(target, name);
    if (name !== "constructor" && typeof value === "function") copy[name] = value.bind(target);
  }
  return copy as T;
}

const lines = [0, 1, 2, 3].map((i) => chatLine(`line ${i}`, `Crate ${i}`, { seed: i }));

/** A batch whose first coordinator dies at a moment, and a second one that comes then. Null if it ended before that moment came. */
async function died(at: number, cancelAt: number | null): Promise<OpenAI.Batch | null> {
  const life = new Life();
  const stop = new AbortController();
  let id = "";
  const dying = counted(cluster.bus, async (moment) => {
    if (moment === cancelAt) await cancelBatch(cluster.bus, "default", id).catch(() => {});
    if (moment === at) life.kill();
  });
  id = (await createBatch(client, lines)).id;
  void start(life.bus(dying), stop.signal); // never ends, once it is dead
  await batchUntil(client, id, (batch) => life.dead || hasEnded(batch));
  const over = !life.dead;
  const second = start(cluster.bus, stop.signal);
  const batch = await batchUntil(client, id, hasEnded);
  await expectWhole(batch);
  stop.abort(new Error("over"));
  await second;
  return over ? null : batch;
}

/** Every line is in one of the files, once; those answered have one job with one end; nothing is left that says the batch runs. */
async function expectWhole(batch: OpenAI.Batch): Promise<void> {
  const output = await outputLines(client, batch.output_file_id);
  const errors = await outputLines(client, batch.error_file_id);
  const { total, completed, failed } = batch.request_counts!;
  expect([completed, failed]).toEqual([output.length, errors.length]);
  for (const { error } of errors) expect(error?.code).toBe("batch_cancelled");
  expect((await findBatch(cluster.bus, "default", batch.id))!.batch).toMatchObject({ holder: null, done: "" });
  if (batch.status === "cancelled" && total === 0) return; // before it was found valid
  expect([...output, ...errors].map(({ custom_id }) => custom_id).toSorted()).toEqual(lines.map(({ custom_id }) => custom_id));
  for (const { custom_id } of output) {
    const records = await cluster.bus.log.read(lineJobId(batch.id, Number(custom_id.split(" ")[1]), 0));
    expect([faultsOf(records), records.at(-1)!.event.type]).toEqual([[], "finished"]);
  }
}

test("a coordinator that dies at any moment of a batch: another ends it, each line once", async () => {
  let at = 1;
  for (; ; at++) {
    const batch = await died(at, null);
    if (batch === null) break;
    expect(batch, `died at ${at}`).toMatchObject({ status: "completed", request_counts: { total: LINES, completed: LINES, failed: 0 } });
  }
  expect(at).toBeGreaterThan(20);
});

test("a coordinator that dies at any moment of a cancel: what has ended is in the output, the rest in the error file", async () => {
  for (let at = 4; at < 30; at += 3) {
    const batch = await died(at, at - 2);
    if (batch !== null) expect(batch.status, `died at ${at}`).toBe(batch.cancelling_at === null ? "completed" : "cancelled");
  }
});

test("a cancel that is taken, at any moment, ends as cancelled, though all lines have ended meanwhile", async () => {
  const statuses = new Set<string>();
  for (let at = 1; !statuses.has("completed"); at++) {
    const stop = new AbortController();
    let id = "";
    let taken = false;
    const cancelling = counted(cluster.bus, async (moment) => {
      if (moment !== at) return;
      taken = await cancelBatch(cluster.bus, "default", id).then(
        () => true,
        () => false,
      );
    });
    id = (await createBatch(client, lines)).id;
    const coordinator = start(cancelling, stop.signal);
    const batch = await batchUntil(client, id, hasEnded);
    await expectWhole(batch);
    expect([batch.status, batch.cancelled_at], `cancelled at ${at}`).toEqual(
      taken ? ["cancelled", expect.any(Number)] : ["completed", null],
    );
    statuses.add(batch.status);
    stop.abort(new Error("over"));
    await coordinator;
  }
  expect(statuses).toEqual(new Set(["cancelled", "completed"]));
});

/** A batch that a coordinator has found valid, and left with its first line done. */
async function left(text: readonly string[]): Promise<string> {
  const { bus } = cluster;
  const { id } = await createBatch(client, text);
  const { batch, place } = (await findBatch(bus, "default", id))!;
  const line = Buffer.from(`${JSON.stringify({ custom_id: "line 0" })}\n`);
  await bus.files.put(`done of ${id}`, line);
  const output = { lines: 1, parts: [{ key: `done of ${id}`, bytes: line.length }] };
  const changed = { ...batch, ...{ status: "in_progress", inProgressAt: 1, total: LINES, output, done: Buffer.of(1).toString("base64") } };
  await bus.documents.put("batch", "default", id, JSON.stringify(changed), place);
  return id;
}

test("a batch whose file lost a part meanwhile fails and says why, and has what had ended", async () => {
  const { bus } = cluster;
  const id = await left(lines.map((line) => JSON.stringify(line) + " ".repeat(600_000)));
  const { inputFileId } = (await findBatch(bus, "default", id))!.batch;
  const { parts } = (await storedFile(bus, "default", inputFileId))!;
  await bus.files.delete(parts.at(-1)!.key);
  const stop = new AbortController();
  const coordinator = start(bus, stop.signal);
  const batch = await batchUntil(client, id, hasEnded);
  expect(batch).toMatchObject({ status: "failed", request_counts: { total: LINES, completed: 1, failed: 0 } });
  expect(batch.errors?.data).toMatchObject([{ code: "file_not_found", message: expect.stringContaining(inputFileId) }]);
  expect(await outputLines(client, batch.output_file_id)).toEqual([{ custom_id: "line 0" }]);
  stop.abort(new Error("over"));
  await coordinator;
});

test("lines that were allowed when their batch was found valid are run, though less is allowed now", async () => {
  const id = await left(lines.map((line, i) => JSON.stringify(line) + " ".repeat(20_000 * i)));
  const stop = new AbortController();
  const coordinator = start(cluster.bus, stop.signal, { bodyMaxBytes: 30_000 });
  const batch = await batchUntil(client, id, hasEnded);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: LINES, completed: LINES, failed: 0 } });
  stop.abort(new Error("over"));
  await coordinator;
});

test("a file that takes longer to read than a claim lives is read by one coordinator, of two that are there", async () => {
  const clock = new VirtualClock();
  const bus = openBus({ url: "memory:", clock });
  const own = await testApi({}, bus);
  const padded = lines.map((line) => JSON.stringify(line) + " ".repeat(1_500_000)); // six parts
  const { id } = await createBatch(new OpenAI({ baseURL: `${own.url}/v1`, apiKey: "none", maxRetries: 0 }), padded);
  const get = (key: string) => clock.sleep(500).then(() => bus.files.get(key));
  const slow: Bus = { ...bus, files: Object.assign(methods(bus.files), { get }) };
  const stop = new AbortController();
  const coordinators = [1, 2].map(() => start(slow, stop.signal, { claimMs: 2_000 }, clock));
  const batchNow = async () => (await findBatch(bus, "default", id))!.batch;
  const read = async () => {
    while ((await batchNow()).status === "validating") await clock.sleep(10);
  };
  await clock.run(read());
  expect(clock.monotonicMs()).toBeGreaterThanOrEqual(6 * 500);
  expect(await batchNow()).toMatchObject({ status: "in_progress", epoch: 1 });
  stop.abort(new Error("over"));
  await Promise.all(coordinators);
  await own.close();
});
