import OpenAI from "openai";
import { afterEach, expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { lineJobId } from "../../../services/batch/run-line.ts";
import { type Batch, findBatch } from "../../../services/shared/batches/batch.ts";
import { deleteStored, storedFile } from "../../../services/shared/batches/file.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { isTerminal } from "../../../services/shared/bus/events.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { batchUntil, chatLine, createBatch, hasEnded } from "../../support/batches.ts";
import { memoryOpenToOthers, newer, type OpenToOthers } from "../../support/damage.ts";
import { Life } from "../../support/life.ts";
import { overriding } from "../../support/overriding.ts";

let bus: Bus;
let writeLog: OpenToOthers["write"];
let api: TestApi | null = null;
let client: OpenAI;
let stop = new AbortController();
let coordinators: Promise<void>[] = [];

async function fresh(): Promise<void> {
  ({ bus, write: writeLog } = memoryOpenToOthers({ claimMs: 200 }));
  api = await testApi({}, bus);
  client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
  stop = new AbortController();
  coordinators = [];
}
async function over(): Promise<void> {
  stop.abort(new Error("over"));
  await Promise.all(coordinators);
  await api?.close();
  api = null;
}
afterEach(over);

const config = loadConfig({ LONGSHORE_CLAIM_MS: "200", LONGSHORE_BEAT_MS: "100", LONGSHORE_BATCH_LINES: "2" });
const model = await openServedModel(config);

/** Runs lines that nobody answers, two at a time. */
async function coordinator(on: Bus): Promise<void> {
  await coordinate(
    { bus: on, model, config, log: silentLog, metrics: openMetrics(), clock: systemClock, random: systemRandom },
    stop.signal,
  );
}
const start = (): void => void coordinators.push(coordinator(bus));
const lives = (life: Life, on: Bus = bus): void => void coordinator(life.bus(on)); // never ends, if it is killed

const batchNow = async (id: string): Promise<Batch> => (await findBatch(bus, "default", id))!.batch;
const write = async (id: string, changes: Partial<Batch>): Promise<void> => {
  const { batch, place } = (await findBatch(bus, "default", id))!;
  expect(await bus.documents.put("batch", "default", id, JSON.stringify({ ...batch, ...changes }), place)).not.toBeNull();
};

/** How all jobs there are stand. */
async function ends(): Promise<readonly string[]> {
  const jobs = await bus.registry.jobs(1_000);
  const lasts = await Promise.all(jobs.map(({ jobId }) => bus.log.last(jobId)));
  return lasts.map((last) => (last !== null && isTerminal(last.event) ? last.event.type : "open"));
}

/** In a record of its own, a batch whose coordinator died with two lines submitted, for two answers each. */
async function left(): Promise<string> {
  await fresh();
  const lines = [0, 1, 2].map((i) => JSON.stringify(chatLine(`${i}`, `Crate ${i}`, { n: 2 })));
  const { id } = await createBatch(client, ["", ...lines.flatMap((line) => [line, " "])]); // a line's place among all is not its number
  const life = new Life();
  lives(life);
  await expect.poll(async () => (await bus.queue.messages("prefill")).length, { timeout: 20_000 }).toBe(4);
  life.kill();
  expect(await ends()).toEqual(Array(4).fill("open"));
  return id;
}

const input = async (id: string) => (await storedFile(bus, "default", (await batchNow(id)).inputFileId))!;
const spoilers: readonly [string, (id: string) => Promise<void>][] = [
  ["input file is gone", async (id) => deleteStored(bus, "default", await input(id))],
  ["input file lost a part", async (id) => bus.files.delete((await input(id)).parts[0]!.key)],
  ["coordinators came to nothing too often", async (id) => write(id, { attempt: 100 })],
];

test.each(spoilers)("a batch that fails because its %s leaves no job at work", async (_, spoil) => {
  const id = await left();
  await spoil(id);
  start();
  expect(await batchUntil(client, id, hasEnded)).toMatchObject({ status: "failed", request_counts: { total: 3, completed: 0, failed: 0 } });
  expect(await ends()).toEqual(Array(4).fill("cancelled"));
});

test("a job whose log cannot be read is marked as cancelled, and keeps neither others from being it nor the batch from its end", async () => {
  const id = await left();
  const jobIds = (await bus.registry.jobs(9)).map(({ jobId }) => jobId);
  const first = jobIds.find((jobId) => [0, 1, 2].some((line) => jobId === lineJobId(id, line, 0)))!;
  await writeLog(first, newer);
  await write(id, { attempt: 100 });
  start();
  expect(await batchUntil(client, id, hasEnded)).toMatchObject({ status: "failed" });
  expect(await Promise.all(jobIds.map((jobId) => bus.registry.cancelMark(jobId)))).toEqual(Array(4).fill("its batch failed"));
});

/** What lasts of the end of a batch, counted; `at` is called before and after each. */
function counted(at: (moment: number) => void): Bus {
  let moments = 0;
  const around = <Args extends readonly unknown[], T>(call: (...args: Args) => Promise<T>) => {
    return async (...args: Args): Promise<T> => {
      at(++moments);
      const result = await call(...args);
      at(++moments);
      return result;
    };
  };
  return {
    ...bus,
    documents: overriding(bus.documents, { put: around(bus.documents.put.bind(bus.documents)) }),
    registry: overriding(bus.registry, { markCancelled: around(bus.registry.markCancelled.bind(bus.registry)) }),
    log: overriding(bus.log, { appendAfter: around(bus.log.appendAfter.bind(bus.log)) }),
  };
}

const endings: readonly [string, (id: string) => Promise<unknown>][] = [
  ["failed", async (id) => deleteStored(bus, "default", await input(id))],
  ["cancelled", (id) => client.batches.cancel(id)],
  ["expired", (id) => write(id, { expiresAt: 1 })],
];

test.each(endings)(
  "a coordinator that dies at any moment while a batch becomes %s: the next one leaves no job at work",
  async (status, end) => {
    let at = 1;
    for (let died = true; died; at += 2) {
      const id = await left();
      await end(id);
      const life = new Life();
      lives(
        life,
        counted((moment) => moment === at && life.kill()),
      );
      await batchUntil(client, id, (batch) => life.dead || hasEnded(batch));
      died = life.dead;
      life.kill();
      start();
      expect(await batchUntil(client, id, hasEnded), `died at ${at}`).toMatchObject({ status });
      expect(await ends(), `died at ${at}`).toEqual(Array(4).fill("cancelled"));
      await over();
    }
    expect(at).toBeGreaterThan(2 * (2 * 4 + 1)); // a mark and an event for each job, and the end
  },
);

test("a coordinator that stood still while another ended its batch cancels what it submitted behind that", async () => {
  await fresh();
  const { id } = await createBatch(client, [chatLine("a", "Where?")]);
  const life = new Life();
  const isAtIt = new Promise<void>((begun) => {
    const log = overriding(bus.log, {
      submit: async (...args: Parameters<Bus["log"]["submit"]>) => {
        life.freeze();
        begun();
        await life.awake;
        return bus.log.submit(...args);
      },
    });
    coordinators.push(coordinator(life.bus({ ...bus, log })));
  });
  await isAtIt;
  await client.batches.cancel(id);
  start();
  expect(await batchUntil(client, id, hasEnded)).toMatchObject({ status: "cancelled" });
  expect(await ends()).toEqual(["open"]); // noted, and not submitted
  life.thaw();
  await expect.poll(ends).toEqual(["cancelled"]);
});
