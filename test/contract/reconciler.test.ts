import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "nats";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { deleteJob } from "../../services/api/jobs.ts";
import { type ReconcilingOptions, reconcileUntil } from "../../services/api/reconciler/reconcile-until.ts";
import { Reconciler } from "../../services/api/reconciler/reconciler.ts";
import type { Bus, Phase } from "../../services/shared/bus/contract.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { BusOptions } from "../../services/shared/bus/settings.ts";
import { systemClock } from "../../services/shared/runtime/clock.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../services/shared/runtime/random.ts";
import { collect, finished, handedOver, held, never, request, tokens } from "../support/bus.ts";
import { NatsServer } from "../support/nats.ts";
import { overriding } from "../support/overriding.ts";

const CLAIM_MS = 300;
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

async function fresh(kind: string, options: Partial<BusOptions> = {}): Promise<Bus> {
  const url = kind === "memory" ? "memory:" : server.url;
  const bus = openBus({ url, prefix: `t${++clusters}`, claimMs: CLAIM_MS, ackWaitMs: 60_000, ...options });
  opened.push(bus);
  await bus.ready(5_000);
  return bus;
}

const open = (bus: Bus, retentionMs = DAY_MS, metrics = openMetrics()) => Reconciler.open({ bus, metrics, claimMs: CLAIM_MS, retentionMs });
const note = (deadlineMs: number) =>
  JSON.stringify({ model: "m", tenant: "t", lane: "interactive", promptTokens: 3, submittedMs: 0, deadlineMs });

/** A job as an API leaves it that dies before it sends the message. */
async function submitted(bus: Bus, jobId: string, deadlineMs?: number): Promise<void> {
  const due = deadlineMs ?? (await bus.log.nowMs()) + DAY_MS;
  await bus.registry.noteJob(jobId, note(due));
  await bus.log.submit(jobId, request({ model: "m", deadlineMs: due }));
}
const publish = (bus: Bus, phase: Phase, jobId: string) => bus.queue.publish(phase, "m", "interactive", { jobId, promptTokens: 3 });
const messages = async (bus: Bus) => {
  const of = async (phase: Phase) => (await bus.queue.messages(phase)).map(({ jobId }) => `${phase} ${jobId}`);
  return [...(await of("prefill")), ...(await of("decode"))].sort();
};
/** Waits until nothing was written for so long by the record's clock, which a timer may be some milliseconds ahead of. */
async function quietFor(bus: Bus, ms: number): Promise<void> {
  let newestMs = 0;
  for await (const { storedMs } of bus.log.lasts()) newestMs = Math.max(newestMs, storedMs);
  await expect.poll(() => bus.log.nowMs(), { timeout: ms + 5_000 }).toBeGreaterThan(newestMs + ms + 20);
}
const lastType = async (bus: Bus, jobId: string) => (await bus.log.last(jobId))?.event.type;

describe.each(["memory", "nats"])("%s: the reconciler", (kind) => {
  test("sends the message of a job whose API died before it could, once it has been quiet as long as a claim lives", async () => {
    const bus = await fresh(kind);
    const reconciler = await open(bus);
    await submitted(bus, "job");
    await reconciler.pass();
    expect(await messages(bus)).toEqual([]);
    await quietFor(bus, CLAIM_MS);
    await reconciler.pass();
    await reconciler.pass();
    expect(await messages(bus)).toEqual(["prefill job"]);
    expect((await bus.queue.pull("prefill", "m", 1_000, never))?.item).toEqual({ jobId: "job", promptTokens: 3, outputTokens: 100 });
  });

  test("finds jobs from the log alone: without index, whatever phase they are in", async () => {
    const bus = await fresh(kind);
    for (const jobId of ["waits", "moved", "ended"]) await bus.log.submit(jobId, request({ model: "m" }));
    for (const jobId of ["moved", "ended"]) await held(await bus.log.claim(jobId, "prefill", "w")).append(handedOver);
    await held(await bus.log.claim("ended", "decode", "w")).append(finished);
    await quietFor(bus, CLAIM_MS);
    await (await open(bus)).pass();
    expect(await messages(bus)).toEqual(["decode moved", "prefill waits"]);
  });

  test("restores an emptied queue, the jobs of dead holders included, and leaves those of live ones alone", async () => {
    const bus = await fresh(kind);
    for (const jobId of ["waits", "dead", "dead in decode", "alive"]) {
      await submitted(bus, jobId);
      await publish(bus, "prefill", jobId);
    }
    const reconciler = await open(bus);
    await held(await bus.log.claim("dead", "prefill", "w"));
    await held(await bus.log.claim("dead in decode", "prefill", "w")).append(handedOver);
    await held(await bus.log.claim("dead in decode", "decode", "w")).append(tokens(1, 5));
    const alive = held(await bus.log.claim("alive", "prefill", "w"));
    for (const { jobId } of await bus.queue.messages("prefill")) await bus.queue.withdraw("prefill", jobId);
    await quietFor(bus, CLAIM_MS);
    await alive.append({ type: "progress", done: 1, total: 3, stored: 0, cached: 0 });
    await reconciler.pass();
    expect(await messages(bus)).toEqual(["decode dead in decode", "prefill dead", "prefill waits"]);
    expect((await bus.log.claim("dead in decode", "decode", "second")).kind).toBe("claimed");
  });

  test("ends what is late or cancelled where nobody holds it, and takes its message away", async () => {
    const bus = await fresh(kind);
    const metrics = openMetrics();
    const reconciler = await open(bus, DAY_MS, metrics);
    const nowMs = await bus.log.nowMs();
    for (const jobId of ["late", "held"]) await submitted(bus, jobId, nowMs);
    for (const jobId of ["marked", "fine"]) await submitted(bus, jobId);
    for (const jobId of ["late", "held", "marked", "fine"]) await publish(bus, "prefill", jobId);
    const claim = held(await bus.log.claim("held", "prefill", "w"));
    await bus.registry.markCancelled("marked", "the client");
    await reconciler.pass();
    expect((await bus.log.last("marked"))?.event).toEqual({ type: "cancelled", by: "the client" });
    expect([await lastType(bus, "late"), await lastType(bus, "held")]).toEqual(["expired", "claimed"]);
    expect(await messages(bus)).toEqual(["prefill fine", "prefill held"]);
    await quietFor(bus, CLAIM_MS);
    await reconciler.pass();
    expect([await lastType(bus, "held"), await lastType(bus, "fine")]).toEqual(["expired", "submitted"]);
    expect(await claim.append(finished)).toBeNull();
    const text = await metrics.text();
    expect(text).toContain('longshore_reconciled_jobs_total{reason="expired"} 2');
    expect(text).toContain('longshore_reconciled_jobs_total{reason="cancelled"} 1');
  });

  test("knows the deadline of a job it found without a note too", async () => {
    const bus = await fresh(kind);
    await bus.log.submit("job", request({ model: "m", deadlineMs: (await bus.log.nowMs()) + 500 }));
    await held(await bus.log.claim("job", "prefill", "w")).append({ type: "released", reason: "drained" });
    await publish(bus, "prefill", "job");
    const reconciler = await open(bus);
    await reconciler.pass();
    await quietFor(bus, 600);
    await reconciler.pass();
    expect(await lastType(bus, "job")).toBe("expired");
  });

  test("goes by the deadline in the log where the note tells that of an earlier try to submit", async () => {
    const bus = await fresh(kind);
    const reconciler = await open(bus);
    await bus.registry.noteJob("job", note((await bus.log.nowMs()) - 1));
    await bus.log.submit("job", request({ model: "m", deadlineMs: (await bus.log.nowMs()) + DAY_MS }));
    await publish(bus, "prefill", "job");
    await reconciler.pass();
    expect(await lastType(bus, "job")).toBe("submitted");
  });

  test("keeps the jobs that failed where they can be listed, latest first, until they are forgotten", async () => {
    const bus = await fresh(kind);
    const reconciler = await open(bus);
    for (const jobId of ["first", "second", "fine"]) await submitted(bus, jobId);
    for (const jobId of ["first", "second"]) {
      const failed = { type: "failed", code: "INTERNAL", message: `no luck with ${jobId}` } as const;
      await held(await bus.log.claim(jobId, "prefill", "w")).append(failed);
      await reconciler.pass();
    }
    await held(await bus.log.claim("fine", "prefill", "w")).append(finished);
    await reconciler.pass();
    const failures = (await bus.registry.failures(10)).map(({ jobId, text }) => [jobId, JSON.parse(text)]);
    const failure = { model: "m", tenant: "tenant", code: "INTERNAL", attempt: 1, claims: 1 };
    expect(failures).toEqual([
      ["second", { ...failure, message: "no luck with second" }],
      ["first", { ...failure, message: "no luck with first" }],
    ]);
    await bus.registry.forget("second");
    expect((await bus.registry.failures(10)).map(({ jobId }) => jobId)).toEqual(["first"]);
    expect(await bus.registry.cancelMarks(0, 10)).toEqual([]);
  });

  test("goes on where another stopped, without reading the log", async () => {
    const bus = await fresh(kind);
    for (const jobId of ["ended", "waits", "behind"]) await submitted(bus, jobId);
    for (const jobId of ["ended", "behind"]) await held(await bus.log.claim(jobId, "prefill", "w")).append(finished);
    await (await open(bus)).pass();
    const [, waits] = await bus.registry.notes(0, 10);
    expect(await bus.registry.lowWater()).toBe(waits!.place - 1);
    const asked: string[] = [];
    const next = await open({ ...bus, log: counting(bus.log, asked) });
    await quietFor(bus, CLAIM_MS);
    await next.pass();
    expect(await messages(bus)).toEqual(["prefill waits"]);
    expect(asked).not.toContain("lasts");
    await held(await bus.log.claim("waits", "prefill", "w")).append(finished);
    await bus.queue.withdraw("prefill", "waits");
    await next.pass();
    expect(await bus.registry.lowWater()).toBe((await bus.registry.jobs(1))[0]!.place);
  });

  test("writes down the end of each job that nobody need read, once however often it is seen, and as long as the job is kept", async () => {
    const bus = await fresh(kind);
    const again = () => Reconciler.audit({ bus, metrics: openMetrics(), claimMs: CLAIM_MS, retentionMs: DAY_MS, webhooks: true });
    const chat = { detached: true, view: JSON.stringify({ surface: "chat" }) };
    const background = { detached: true, view: JSON.stringify({ surface: "responses" }) };
    const failed = { type: "failed", code: "INTERNAL", message: "no luck" } as const;
    const cancelled = { type: "cancelled", by: "the test" } as const;
    const cases = [
      ["job_1", chat, finished, "job.finished", "job_1"],
      ["job_2", chat, failed, "job.failed", "job_2"],
      ["job_3", chat, cancelled, "job.cancelled", "job_3"],
      ["job_4", chat, { type: "expired" }, "job.expired", "job_4"],
      ["job_5", background, finished, "response.completed", "resp_5"],
      ["job_6", background, { ...finished, reason: "length" }, "response.incomplete", "resp_6"],
      ["job_7", background, failed, "response.failed", "resp_7"],
      ["job_8", background, cancelled, "response.cancelled", "resp_8"],
      ["job_9", background, { type: "expired" }, "response.failed", "resp_9"],
      ["job_attached", { ...chat, detached: false }, finished, null, ""],
      ["job_line", { ...chat, lane: "batch" }, finished, null, ""],
    ] as const;
    for (const [jobId, changes, event] of cases) {
      await bus.log.submit(jobId, request({ model: "m", ...changes }));
      await bus.log.appendAfter((await bus.log.last(jobId))!, event);
    }
    await (await again()).pass();
    const written = async () => await bus.documents.behind("event", null, 0, 100);
    const ends = new Map((await written()).map(({ id, tenant, text }) => [id, { tenant, ...(JSON.parse(text) as object) }]));
    for (const [jobId, , , type, id] of cases) {
      const endedAt = Math.floor((await bus.log.last(jobId))!.atMs / 1_000);
      const end = { tenant: "tenant", type, id, endedAt, webhook: { tries: 0, nextAt: 0 } };
      expect(ends.get(jobId), jobId).toEqual(type === null ? undefined : end);
    }
    const [first] = await written();
    await bus.documents.put("event", first!.tenant, first!.id, "told", first!.place);
    const before = await written();
    await (await again()).pass();
    expect(await written()).toEqual(before);
    for (const [jobId] of cases) await deleteJob(bus, jobId);
    expect(await written()).toEqual([]);
  });

  test("that ends a job itself writes its end down too, and waits for room", async () => {
    const bus = await fresh(kind);
    let full = true;
    const put: Bus["documents"]["put"] = (...of) => {
      if (full) throw new ServingError("OVERLOADED", "no room");
      return bus.documents.put(...of);
    };
    const narrow = overriding(bus, { documents: overriding(bus.documents, { put }) });
    const reconciler = await Reconciler.open({
      bus: narrow,
      metrics: openMetrics(),
      claimMs: CLAIM_MS,
      retentionMs: DAY_MS,
      webhooks: true,
    });
    const nowMs = await bus.log.nowMs();
    await bus.registry.noteJob("job_late", note(nowMs));
    const late = { deadlineMs: nowMs, detached: true, view: JSON.stringify({ surface: "chat" }) };
    await bus.log.submit("job_late", request({ model: "m", ...late }));
    for (let passes = 0; passes < 3; passes++) await reconciler.pass();
    expect([await lastType(bus, "job_late"), await bus.documents.behind("event", null, 0, 9)]).toEqual(["expired", []]);
    const many = Array.from({ length: 1_000 }, (_, i) => `job_${i}`);
    await Promise.all(
      many.map(async (jobId) => {
        await bus.registry.noteJob(jobId, note(nowMs + DAY_MS));
        await bus.log.submit(jobId, request({ model: "m", detached: true, view: late.view }));
        await bus.log.appendAfter((await bus.log.last(jobId))!, { type: "cancelled", by: "the test" });
      }),
    );
    expect(await reconciler.pass(), "more to be done at once").toBe(false);
    full = false;
    for (let passes = 0; passes < 2; passes++) await reconciler.pass();
    const ends = await bus.documents.behind("event", null, 0, 2_000);
    expect(ends.length).toBe(1_001);
    expect(JSON.parse(ends.find(({ id }) => id === "job_late")!.text)).toMatchObject({ type: "job.expired", id: "job_late" });
  });

  test("takes away messages of jobs that ended or are gone: a killed server keeps some that were acked", async () => {
    const bus = await fresh(kind);
    const reconciler = await open(bus);
    await submitted(bus, "ended");
    await bus.log.appendAfter((await bus.log.last("ended"))!, { type: "cancelled", by: "the test" });
    await submitted(bus, "waits");
    for (const jobId of ["ended", "waits", "gone"]) await publish(bus, "prefill", jobId);
    await publish(bus, "decode", "ended");
    await reconciler.pass();
    await reconciler.pass(); // the first learns that the noted one has ended
    expect(await messages(bus)).toEqual(["prefill waits"]);
  });

  test("sends the message of a job whose only one is of a phase it has left", async () => {
    const bus = await fresh(kind);
    const reconciler = await open(bus);
    await submitted(bus, "job");
    await publish(bus, "prefill", "job");
    await held(await bus.log.claim("job", "prefill", "died")).append(handedOver);
    await quietFor(bus, CLAIM_MS);
    await reconciler.pass();
    expect(await messages(bus)).toEqual(["decode job", "prefill job"]);
  });

  test("asks a bounded number of questions, however many jobs wait", async () => {
    const bus = await fresh(kind);
    const count = 10_000;
    const lanes = Array.from({ length: 100 }, async (_, lane) => {
      for (let i = lane; i < count; i += 100) {
        await submitted(bus, `job${i}`);
        await publish(bus, "prefill", `job${i}`);
      }
    });
    await Promise.all(lanes);
    const asked: string[] = [];
    const counted = { ...bus, log: counting(bus.log, asked), queue: counting(bus.queue, asked), registry: counting(bus.registry, asked) };
    const reconciler = await open(counted);
    await quietFor(bus, 4 * CLAIM_MS);
    await reconciler.pass(); // reads the notes of jobs it knows already
    asked.length = 0;
    await reconciler.pass();
    expect(asked.length).toBeLessThan(50);
    expect(await messages(bus)).toHaveLength(count);
  });

  test("purges what ended long enough ago, payload, mark and note too, and nothing else", async () => {
    const bus = await fresh(kind);
    for (const jobId of ["old", "open", "young"]) await submitted(bus, jobId);
    await bus.registry.noteJob("large", note(0));
    await bus.log.submit("large", request({ model: "m", prompt: { payload: "large" } }));
    await bus.payloads.put("large", Uint8Array.of(1));
    for (const jobId of ["old", "large"]) await held(await bus.log.claim(jobId, "prefill", "w")).append(finished);
    await bus.registry.markCancelled("old", "too late");
    await quietFor(bus, 1_000);
    await held(await bus.log.claim("young", "prefill", "w")).append(finished);
    const reconciler = await open(bus, 900);
    await reconciler.pass();
    expect(await Promise.all(["old", "large", "open", "young"].map((jobId) => lastType(bus, jobId)))).toEqual([
      undefined,
      undefined,
      "submitted",
      "finished",
    ]);
    expect((await bus.registry.notes(0, 10)).map(({ jobId }) => jobId)).toEqual(["open", "young"]);
    expect([await bus.payloads.get("large"), await bus.registry.cancelMark("old")]).toEqual([null, null]);
    await quietFor(bus, 1_000);
    await reconciler.pass();
    expect([await lastType(bus, "open"), await lastType(bus, "young")]).toEqual(["submitted", undefined]);
  });

  test("runs in one of many processes, and in another once that one is gone", async () => {
    const bus = await fresh(kind, { beatLifeMs: 400 });
    await submitted(bus, "first");
    const stops = ["a", "b"].map((replica) => {
      const stop = new AbortController();
      const options: ReconcilingOptions = {
        ...{ bus, replica, metrics: openMetrics(), claimMs: CLAIM_MS, retentionMs: DAY_MS, beatMs: 40 },
        ...{ clock: systemClock, random: systemRandom, log: silentLog },
      };
      void reconcileUntil(options, stop.signal);
      return stop;
    });
    await expect.poll(() => messages(bus), { timeout: 5_000 }).toEqual(["prefill first"]);
    stops[0]!.abort();
    await submitted(bus, "second");
    await expect.poll(() => messages(bus), { timeout: 5_000 }).toEqual(["prefill first", "prefill second"]);
    stops[1]!.abort();
  });
});

test("a long audit is done by one of many: it shows that it gets on", async () => {
  const bus = await fresh("memory", { beatLifeMs: 400 });
  await submitted(bus, "ended");
  await held(await bus.log.claim("ended", "prefill", "w")).append(finished);
  const [ended] = await collect(bus.log.lasts());
  let audits = 0;
  const lasts = async function* () {
    audits++;
    for (let page = 0; page < 10; page++) {
      await systemClock.sleep(100);
      for (let i = 0; i < 1_000; i++) yield ended!;
    }
  };
  const stop = new AbortController();
  const running = ["a", "b"].map((replica) =>
    reconcileUntil(
      {
        ...{ bus: { ...bus, log: overriding(bus.log, { lasts }) }, replica, metrics: openMetrics(), claimMs: CLAIM_MS },
        ...{ retentionMs: DAY_MS, beatMs: 40, clock: systemClock, random: systemRandom, log: silentLog },
      },
      stop.signal,
    ),
  );
  await expect.poll(() => bus.registry.lowWater(), { timeout: 10_000 }).not.toBeNull();
  stop.abort();
  await Promise.all(running);
  expect(audits).toBe(1);
});

test("a deadline is the record's: a machine whose clock is ten minutes ahead ends nothing early", async () => {
  const fast = { ...systemClock, nowMs: () => Date.now() + 600_000 };
  const bus = await fresh("nats", { clock: fast });
  await submitted(bus, "job", (await bus.log.nowMs()) + 60_000);
  await (await open(bus)).pass();
  expect(await lastType(bus, "job")).toBe("submitted");
});

test("a queue purged by somebody's hand is filled again, and the consumers that had messages in flight give every one of them", async () => {
  const bus = await fresh("nats");
  const jobs = ["waits", "waits too", "in flight", "acked"];
  for (const jobId of jobs) await submitted(bus, jobId);
  for (const jobId of ["acked", "in flight", "waits", "waits too"]) await publish(bus, "prefill", jobId);
  (await bus.queue.pull("prefill", "m", 1_000, never))!.ack(); // its holder dies, and its message with him
  const inFlight = await bus.queue.pull("prefill", "m", 1_000, never);
  const hand = await connect({ servers: server.url });
  await hand.request(`$JS.API.STREAM.PURGE.T${clusters}_PREFILL`);
  await hand.close();
  expect(await messages(bus)).toEqual([]);
  await quietFor(bus, CLAIM_MS);
  await (await open(bus)).pass();
  expect(await messages(bus)).toEqual(jobs.map((jobId) => `prefill ${jobId}`).sort());
  inFlight!.nak(0);
  const pulled: string[] = [];
  for (const _ of jobs) {
    const message = await bus.queue.pull("prefill", "m", 2_000, never);
    pulled.push(message?.item.jobId ?? "nothing");
    message?.ack();
  }
  expect(pulled.sort()).toEqual([...jobs].sort());
  expect(await bus.queue.pull("prefill", "m", 100, never)).toBeNull();
});

test("a queue that lost its end in a power cut, and gives nobody what comes next, is made to give it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "longshore-power-cut-"));
  const nats = await NatsServer.start(folder);
  const bus = await fresh("nats", { url: nats.url });
  for (let i = 0; i < 20; i++) {
    await publish(bus, "prefill", `before ${i}`);
    (await bus.queue.pull("prefill", "m", 1_000, never))!.ack();
  }
  await expect.poll(() => messages(bus)).toEqual([]);
  await nats.kill("SIGTERM"); // the consumer's state is stored; its stream's is taken away
  rmSync(join(folder, `store/jetstream/$G/streams/T${clusters}_PREFILL/msgs`), { recursive: true });
  await nats.restart();
  await bus.ready(5_000);
  await submitted(bus, "job");
  await publish(bus, "prefill", "job");
  const metrics = openMetrics();
  const reconciler = await open(bus, DAY_MS, metrics);
  const pulled = bus.queue.pull("prefill", "m", 20_000, never);
  await reconciler.pass(); // it may still come by itself
  await quietFor(bus, 3 * CLAIM_MS);
  expect(await Promise.race([pulled, "nothing"])).toBe("nothing");
  expect(await metrics.text()).not.toContain("message not given");
  await reconciler.pass();
  expect((await pulled)?.item.jobId).toBe("job");
  expect(await metrics.text()).toContain('longshore_reconciled_jobs_total{reason="message not given"} 1');
  await bus.close();
  await nats.stop();
});

test.each(["goes on", "takes over"])("an index that lost its end in a power cut hides no job from a reconciler that %s", async (how) => {
  const folder = mkdtempSync(join(tmpdir(), "longshore-power-cut-"));
  const nats = await NatsServer.start(folder);
  const bus = await fresh("nats", { url: nats.url });
  for (let i = 0; i < 5; i++) {
    await submitted(bus, `before ${i}`);
    await held(await bus.log.claim(`before ${i}`, "prefill", "w")).append(finished);
  }
  const before = await open(bus);
  await before.pass();
  await before.pass(); // the first learns that they have ended
  expect(await bus.registry.lowWater()).toBe(5);
  await nats.kill("SIGTERM");
  rmSync(join(folder, `store/jetstream/$G/streams/KV_t${clusters}_jobs/msgs`), { recursive: true });
  await nats.restart();
  await bus.ready(5_000);
  for (let i = 0; i < (how === "goes on" ? 7 : 1); i++) await submitted(bus, `after ${i}`); // beyond what was read, or not
  await quietFor(bus, CLAIM_MS);
  await (how === "goes on" ? before : await open(bus)).pass();
  expect((await messages(bus))[0]).toBe("prefill after 0");
  expect(await bus.registry.lowWater()).toBeLessThan(5);
  await bus.close();
  await nats.stop();
});

test("an index from which the newest notes were deleted is what it was, and the log is not read again", async () => {
  const bus = await fresh("memory");
  for (const jobId of ["first", "second"]) await submitted(bus, jobId);
  const asked: string[] = [];
  const reconciler = await open({ ...bus, log: counting(bus.log, asked) });
  asked.length = 0;
  for (const jobId of ["first", "second"]) await bus.registry.forget(jobId);
  await reconciler.pass();
  await submitted(bus, "third");
  await quietFor(bus, CLAIM_MS);
  await reconciler.pass();
  expect(await messages(bus)).toContain("prefill third");
  expect(asked).not.toContain("lasts");
});

const counting = <T extends object>(target: T, asked: string[]): T =>
  new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        asked.push(String(name));
        return value.apply(target, args);
      };
    },
  });
