import { createHash } from "node:crypto";
import OpenAI from "openai";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { type Batch, batchOf, findBatch } from "../../../services/shared/batches/batch.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { chatLine, createBatch } from "../../support/batches.ts";
import { overriding } from "../../support/overriding.ts";

const digest = (key: string) => createHash("sha256").update(key).digest("hex");
const tenantOf = (key: string) => digest(key).slice(0, 16);

let bus: Bus;
let api: TestApi;
let stop = new AbortController();
let coordinator: Promise<void> = Promise.resolve();

beforeEach(async () => {
  bus = openBus({ url: "memory:" });
  api = await testApi({ apiKeys: `${digest("a")},${digest("b")}` }, bus);
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort(new Error("over"));
  await coordinator;
  coordinator = Promise.resolve();
  await api.close();
});

const clientOf = (key: string) => new OpenAI({ baseURL: `${api.url}/v1`, apiKey: key, maxRetries: 0 });
const batchOfTenant = async (key: string) => (await createBatch(clientOf(key), [chatLine("line", "Where?")])).id;
const now = async (key: string, id: string): Promise<Batch> => (await findBatch(bus, tenantOf(key), id))!.batch;

/** Works on so many at once, and nobody answers what is submitted. */
async function start(batchesMax: number, on: Bus = bus): Promise<void> {
  const config = { ...loadConfig({ LONGSHORE_BEAT_MS: "100" }), batchesMax };
  const model = await openServedModel(config);
  const deps = { bus: on, model, config, log: silentLog, metrics: openMetrics(), clock: systemClock, random: systemRandom };
  coordinator = Promise.all([coordinator, coordinate(deps, stop.signal)]).then(() => {});
}

const heldIds = async () =>
  (await bus.documents.behind("batch", null, 0, 100)).flatMap((document) => {
    const { id, holder } = batchOf(document);
    return holder === null ? [] : [id];
  });

test("a batch whose coordinator is gone is not waited for until a record's clock that was set back is there again", async () => {
  const id = await batchOfTenant("a");
  const { batch, place } = (await findBatch(bus, tenantOf("a"), id))!;
  await bus.documents.put("batch", batch.tenant, id, JSON.stringify({ ...batch, holder: "gone", epoch: batch.epoch + 1 }), place);
  await start(1, { ...bus, log: overriding(bus.log, { nowMs: async () => Date.now() - 3_600_000 }) });
  await expect.poll(async () => (await now("a", id)).holder, { timeout: 20_000 }).not.toBe("gone");
});

test("a tenant with many batches does not keep another's from being begun", async () => {
  const [first] = [await batchOfTenant("a"), await batchOfTenant("a"), await batchOfTenant("a")];
  const other = await batchOfTenant("b");
  await start(2);
  await expect.poll(heldIds, { timeout: 20_000 }).toHaveLength(2);
  expect((await heldIds()).toSorted()).toEqual([first, other].toSorted());
});

test("a batch is begun while old files are swept, however long that takes", async () => {
  const end = bus.documents.end.bind(bus.documents);
  let go = () => {};
  const going = new Promise<void>((resolve) => {
    go = resolve;
  });
  const asked = vi.spyOn(bus.documents, "end").mockImplementation(async (kind) => {
    if (kind === "file") await going;
    return end(kind);
  });
  await start(1);
  await expect.poll(() => asked.mock.calls.some(([kind]) => kind === "file"), { timeout: 20_000 }).toBe(true);
  const id = await batchOfTenant("a");
  await expect.poll(heldIds, { timeout: 20_000 }).toEqual([id]);
  go();
});

test("of two that wait, the one of the tenant with nothing at work is begun first", async () => {
  const busy = await batchOfTenant("a");
  await start(1);
  await expect.poll(heldIds, { timeout: 20_000 }).toEqual([busy]);
  await batchOfTenant("a");
  const other = await batchOfTenant("b");
  await start(1);
  await expect.poll(heldIds, { timeout: 20_000 }).toHaveLength(2);
  expect((await heldIds()).toSorted()).toEqual([busy, other].toSorted());
});

test("a coordinator that stops hands on what it holds, and that counts as no attempt", async () => {
  const id = await batchOfTenant("a");
  await start(1);
  await expect.poll(heldIds, { timeout: 20_000 }).toEqual([id]);
  stop.abort(new Error("over"));
  await coordinator;
  expect(await now("a", id)).toMatchObject({ holder: null, epoch: 1, attempt: 0 });
});

test("batches are found though the record came back with less than it had", async () => {
  const before = { tenant: "t", id: "batch_0", text: "", place: 1_000, storedMs: 0 };
  let heardTo = 0;
  let behind: Bus["documents"]["behind"] = async (kind, _, after) => {
    heardTo = Math.max(heardTo, after);
    return kind === "batch" && after === 0 ? [before] : [];
  };
  let end: Bus["documents"]["end"] = async () => 1_001;
  const documents = overriding(bus.documents, { behind: (...asked) => behind(...asked), end: (kind) => end(kind) });
  await start(1, { ...bus, documents });
  await expect.poll(() => heardTo, { timeout: 20_000 }).toBe(1_000);
  const id = await batchOfTenant("a");
  end = async (kind) => {
    if (kind !== "batch") return bus.documents.end(kind);
    behind = (...asked) => bus.documents.behind(...asked);
    end = (kind) => bus.documents.end(kind);
    throw new ServingError("UNAVAILABLE", "the record is away");
  };
  await expect.poll(heldIds, { timeout: 20_000 }).toEqual([id]);
});

test("where a page of the list cannot be read, what was read before is not read again", async () => {
  const id = await batchOfTenant("a");
  const { text } = (await bus.documents.get("batch", tenantOf("a"), id))!;
  const ended = JSON.stringify({ ...JSON.parse(text), status: "failed", endedAt: 1 });
  for (let i = 0; i < 6; i++) await bus.documents.put("batch", "t", `batch_${i}`, ended.replace(id, `batch_${i}`), 0);
  const other = await batchOfTenant("b");
  const asked: number[] = [];
  const behind: Bus["documents"]["behind"] = async (kind, tenant, after) => {
    if (kind !== "batch") return bus.documents.behind(kind, tenant, after, 1);
    const isFirst = !asked.includes(after);
    asked.push(after);
    if (isFirst && after > 0) throw new ServingError("UNAVAILABLE", "the record is slow"); // so every page fails once
    return bus.documents.behind(kind, tenant, after, 2);
  };
  await start(9, { ...bus, documents: overriding(bus.documents, { behind }) });
  await expect.poll(async () => (await heldIds()).toSorted(), { timeout: 20_000 }).toEqual([id, other].toSorted());
  expect(asked.filter((after) => after === 0)).toEqual([0]);
});

test.each([
  ["cancelled", async (id: string) => void (await clientOf("b").batches.cancel(id))],
  [
    "expired",
    async (id: string) => {
      const { batch, place } = (await findBatch(bus, tenantOf("b"), id))!;
      await bus.documents.put("batch", batch.tenant, id, JSON.stringify({ ...batch, expiresAt: batch.createdAt - 1 }), place);
    },
  ],
])("a batch that waits is %s though all coordinators are busy", async (status, end) => {
  const busy = await batchOfTenant("a");
  await start(1);
  await expect.poll(async () => (await now("a", busy)).status, { timeout: 20_000 }).toBe("in_progress");
  const waiting = await batchOfTenant("b");
  await end(waiting);
  await expect.poll(async () => (await now("b", waiting)).status, { timeout: 20_000 }).toBe(status);
  expect(await now("a", busy)).toMatchObject({ status: "in_progress", holder: expect.any(String) });
});
