import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Reconciler } from "../../services/api/reconciler/reconciler.ts";
import { RECORD_BYTES_MAX } from "../../services/shared/bus/codec.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { type Damage, tellDamage } from "../../services/shared/bus/damage.ts";
import type { BusOptions } from "../../services/shared/bus/settings.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { type TestApi, testApi } from "../support/api.ts";
import { collect, held, never, request } from "../support/bus.ts";
import { memoryOpenToOthers, natsOpenToOthers, type OpenToOthers } from "../support/damage.ts";
import { NatsServer } from "../support/nats.ts";
import { overriding } from "../support/overriding.ts";

const CLAIM_MS = 300;
const ACK_WAIT_MS = 400;
const DAY_MS = 86_400_000;

let server: NatsServer;
let clusters = 0;
const opened: Bus[] = [];

beforeAll(async () => {
  server = await NatsServer.start();
});
afterAll(async () => {
  for (const bus of opened) await bus.close();
  await server.stop();
});

interface Cluster extends OpenToOthers {
  readonly damages: Damage[];
}

async function fresh(kind: string, more: Partial<BusOptions> = {}): Promise<Cluster> {
  const damages: Damage[] = [];
  const options = {
    prefix: `d${++clusters}`,
    claimMs: CLAIM_MS,
    ackWaitMs: ACK_WAIT_MS,
    onDamage: (damage: Damage) => damages.push(damage),
    ...more,
  };
  const open = kind === "memory" ? memoryOpenToOthers(options) : natsOpenToOthers({ url: server.url, ...options });
  opened.push(open.bus);
  await open.bus.ready(5_000);
  return { ...open, damages };
}

/** A job as an API leaves it, with its message. */
async function submitted(bus: Bus, jobId: string, deadlineMs = 1_900_000_000_000): Promise<void> {
  await bus.registry.noteJob(jobId, JSON.stringify({ model: "m", tenant: "tenant", lane: "interactive", promptTokens: 3, deadlineMs }));
  await bus.log.submit(jobId, request({ model: "m", deadlineMs }));
  await bus.queue.publish("prefill", "m", "interactive", { jobId, promptTokens: 3 });
}
const reconcilerOf = (bus: Bus, metrics = openMetrics()) => ({ bus, metrics, claimMs: CLAIM_MS, retentionMs: DAY_MS });
const waiting = async (bus: Bus) => (await bus.queue.messages("prefill")).map(({ jobId }) => jobId).sort();
const quiet = async (bus: Bus, ms: number) => {
  const startMs = await bus.log.nowMs();
  await expect.poll(() => bus.log.nowMs(), { timeout: ms + 5_000 }).toBeGreaterThan(startMs + ms);
};

const junk = Buffer.from("no record of ours");
/** A field that this version does not know, in place of an event. */
const newer = Uint8Array.of(0xa2, 0x06, 0x01, 0x00);
const damages: readonly [string, Uint8Array][] = [
  ["junk", junk],
  ["nothing", new Uint8Array()],
  ["an event of a newer version", newer],
  ["more than a record may have", new Uint8Array(RECORD_BYTES_MAX + 1)],
];

describe.each(["memory", "nats"])("%s", (kind) => {
  test.each(damages)("%s as a job's last event: whoever needs it is told which, nobody appends, other jobs are well", async (_, bytes) => {
    const { bus, write, damages } = await fresh(kind);
    const { log } = bus;
    await log.submit("well", request());
    const claim = await log.submit("job", request()).then(async () => held(await log.claim("job", "prefill", "w")));
    const sequence = await write("job", bytes);
    const told = { code: "DAMAGED", message: expect.stringContaining(`event ${sequence} of job cannot be read`) };
    await expect(log.last("job")).rejects.toMatchObject(told);
    await expect(log.read("job")).rejects.toMatchObject(told);
    await expect(log.claim("job", "prefill", "second")).rejects.toMatchObject(told);
    for (const after of [0, sequence - 1]) await expect(collect(log.follow("job", after, never))).rejects.toMatchObject(told);
    expect(await claim.append({ type: "progress", done: 1, total: 3, stored: 1 }), "the fence").toBeNull();
    expect(await log.first("job")).toMatchObject({ event: { type: "submitted" } });
    expect(await log.lastStored("job")).toMatchObject({ jobId: "job", sequence, record: null });
    expect((await collect(log.lasts())).map(({ jobId, record }) => [jobId, record?.event.type])).toEqual([
      ["well", "submitted"],
      ["job", undefined],
    ]);
    expect(new Set(damages.map(({ jobId, sequence }) => `${jobId} ${sequence}`))).toEqual(new Set([`job ${sequence}`]));
    expect((await log.claim("well", "prefill", "w")).kind).toBe("claimed");
  });

  test("a job whose log is damaged in the middle is claimed by nobody, and no attempt counts", async () => {
    const { bus, write } = await fresh(kind);
    await bus.log.submit("job", request());
    const sequence = await write("job", junk);
    const stored = await bus.log.lastStored("job");
    expect(await bus.log.appendAfter(stored!, { type: "sent_back", reason: "the test" })).toBe(true);
    const { attempt, epoch } = (await bus.log.last("job"))!;
    expect([attempt, epoch]).toEqual([0, 0]);
    const told = { code: "DAMAGED", message: expect.stringContaining(`event ${sequence} of job`) };
    await expect(bus.log.claim("job", "prefill", "w")).rejects.toMatchObject(told);
    expect((await bus.log.last("job"))?.event.type).toBe("sent_back");
  });

  test("the reconciler sees to all other jobs, leaves the damaged ones and their messages alone, and fails them at their deadline", async () => {
    const { bus, write } = await fresh(kind);
    const dueMs = (await bus.log.nowMs()) + 2_000;
    await submitted(bus, "damaged", dueMs);
    await submitted(bus, "beginning", dueMs);
    await bus.log.delete("beginning");
    await write("beginning", junk);
    for (const jobId of ["waits", "late"]) await submitted(bus, jobId, jobId === "late" ? 0 : undefined);
    await bus.queue.withdraw("prefill", "waits");
    await held(await bus.log.claim("damaged", "prefill", "w"));
    const sequence = await write("damaged", junk);
    await write("of nobody", junk);
    await bus.registry.noteJob("no note", "{");

    const metrics = openMetrics();
    for (const open of [Reconciler.open, Reconciler.audit]) {
      const reconciler = await open(reconcilerOf(bus, metrics));
      await quiet(bus, CLAIM_MS);
      await reconciler.pass();
    }
    expect((await bus.log.last("late"))?.event.type).toBe("expired");
    expect(await waiting(bus)).toEqual(["beginning", "damaged", "waits"]);
    expect(await bus.log.lastStored("damaged")).toMatchObject({ sequence, record: null });

    const reconciler = await Reconciler.audit(reconcilerOf(bus, metrics));
    await quiet(bus, dueMs - (await bus.log.nowMs()));
    await reconciler.pass();
    await reconciler.pass(); // sees the end
    const failed = { type: "failed", code: "DAMAGED", message: `nobody could read event ${sequence} of damaged before its deadline` };
    expect(await bus.log.last("damaged")).toMatchObject({ event: failed, epoch: 1, attempt: 1, previous: sequence });
    expect((await bus.registry.failures(10)).map(({ jobId, text }) => [jobId, JSON.parse(text)])).toEqual([
      ["damaged", { model: "m", tenant: "tenant", code: "DAMAGED", message: failed.message, attempt: 1, claims: 1 }],
    ]);
    expect((await bus.log.last("beginning"))?.event).toMatchObject({ type: "failed", code: "DAMAGED" });
    expect(await waiting(bus)).toEqual(["waits"]);
    expect(await metrics.text()).toContain('longshore_reconciled_jobs_total{reason="failed"} 2');
  });

  test("a damaged job that is cancelled ends as soon as nobody can be at work on it", async () => {
    const { bus, write } = await fresh(kind);
    await submitted(bus, "job");
    await write("job", newer);
    await bus.registry.markCancelled("job", "the client");
    const reconciler = await Reconciler.open(reconcilerOf(bus));
    await reconciler.pass();
    expect((await bus.log.lastStored("job"))?.record).toBeNull();
    await quiet(bus, CLAIM_MS);
    await reconciler.pass();
    expect((await bus.log.last("job"))?.event).toEqual({ type: "cancelled", by: "the client" });
    expect(await waiting(bus)).toEqual([]);
  });

  test("a job that is damaged in the middle is not taken for one whose message NATS gives nobody", async () => {
    const { bus, write } = await fresh(kind, { ackWaitMs: 60_000 });
    await submitted(bus, "job");
    await write("job", junk);
    expect(await bus.log.appendAfter((await bus.log.lastStored("job"))!, { type: "sent_back", reason: "the test" })).toBe(true);
    expect(await bus.queue.pull("prefill", "m", 1_000, never)).not.toBeNull();
    const leaving = new AbortController();
    const idle = bus.queue.pull("prefill", "m", 30_000, leaving.signal);
    const metrics = openMetrics();
    const reconciler = await Reconciler.open(reconcilerOf(bus, metrics));
    await quiet(bus, 4 * CLAIM_MS);
    await reconciler.pass();
    await reconciler.pass();
    leaving.abort();
    expect(await idle).toBeNull();
    expect(await metrics.text()).not.toContain("message not given");
  });

  test("its message comes again once per ack wait, whoever cannot read it; whoever can goes on", async () => {
    const { bus, write } = await fresh(kind);
    await submitted(bus, "job");
    await write("job", newer);
    const pulledMs: number[] = [];
    for (let i = 0; i < 3; i++) {
      const message = await bus.queue.pull("prefill", "m", 5_000, never);
      pulledMs.push(performance.now());
      await expect(bus.log.claim(message!.item.jobId, "prefill", "old")).rejects.toMatchObject({ code: "DAMAGED" });
    }
    for (const [i, ms] of pulledMs.slice(1).entries()) expect(ms - pulledMs[i]!).toBeGreaterThanOrEqual(ACK_WAIT_MS - 20);
  });
});

describe.each(["memory", "nats"])("%s: over HTTP a damaged job", (kind) => {
  let cluster: Cluster;
  let api: TestApi;
  beforeAll(async () => {
    cluster = await fresh(kind);
    api = await testApi({ beatMs: 100 }, cluster.bus);
  });
  afterAll(() => api.close());

  const body = { model: "yardlog", prompt: [1, 2, 3], max_tokens: 5 };
  const call = (method: string, path: string, json?: unknown, headers = {}) =>
    fetch(api.url + path, {
      method,
      ...(json === undefined ? {} : { body: JSON.stringify(json), headers: { "content-type": "application/json", ...headers } }),
    });
  const damagedJob = async () => {
    const { id } = (await (await call("POST", "/v1/jobs", { kind: "completion", request: body })).json()) as { id: string };
    return { id, sequence: await cluster.write(id, junk) };
  };

  test("is told to its readers in words, as an answer and on a stream, and can be deleted", async () => {
    const { id, sequence } = await damagedJob();
    const error = { type: "server_error", code: "damaged", message: expect.stringContaining(`event ${sequence} of ${id} cannot be read`) };
    const read = await call("GET", `/v1/jobs/${id}`);
    expect([read.status, read.headers.get("x-should-retry"), await read.json()]).toEqual([
      500,
      "false",
      { error: { ...error, param: null } },
    ]);
    for (const path of ["events", "stream"]) {
      const text = await (await call("GET", `/v1/jobs/${id}/${path}`)).text();
      expect(text).toContain(`event ${sequence} of ${id} cannot be read`);
    }
    const listed = (await (await call("GET", "/v1/jobs")).json()) as { data: { id: string }[] };
    expect(listed.data.map((job) => job.id)).toContain(id);
    expect(await (await call("DELETE", `/v1/jobs/${id}`)).json()).toMatchObject({ deleted: true });
    expect(await waiting(cluster.bus)).toEqual([]);
    expect((await call("GET", `/v1/jobs/${id}`)).status).toBe(404);
  });

  test("that a request waits for is told to it at once; the same request sent again is a new job", async () => {
    const waits = call("POST", "/v1/completions", body);
    await expect.poll(() => waiting(cluster.bus), { timeout: 5_000 }).toHaveLength(1);
    const [jobId] = await waiting(cluster.bus);
    await cluster.write(jobId!, junk);
    const answered = await waits;
    expect([answered.status, ((await answered.json()) as { error: { code: string } }).error.code]).toEqual([500, "damaged"]);
    const again = new AbortController();
    const retry = fetch(`${api.url}/v1/completions`, {
      ...{ method: "POST", body: JSON.stringify(body), signal: again.signal },
      headers: { "content-type": "application/json", "x-stainless-retry-count": "1" },
    });
    await expect.poll(async () => (await waiting(cluster.bus)).filter((id) => id !== jobId), { timeout: 5_000 }).toHaveLength(1);
    again.abort();
    await expect(retry).rejects.toThrow();
  });
});

test("each damaged job is counted and logged once by a process, with its id and sequence", async () => {
  const lines: unknown[] = [];
  const log = overriding(silentLog, { error: ((fields: unknown) => void lines.push(fields)) as typeof silentLog.error });
  const metrics = openMetrics();
  const { bus, write } = memoryOpenToOthers({ onDamage: tellDamage(log, metrics) });
  for (const jobId of ["one", "two"]) await write(jobId, junk);
  for (let i = 0; i < 3; i++) await collect(bus.log.lasts());
  await expect(bus.log.last("one")).rejects.toMatchObject({ code: "DAMAGED" });
  expect(lines).toMatchObject([
    { jobId: "one", sequence: 1 },
    { jobId: "two", sequence: 2 },
  ]);
  expect(await metrics.text()).toContain("longshore_damaged_jobs_total 2");
});
