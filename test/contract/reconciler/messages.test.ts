import { connect } from "nats";
import { describe, expect, test } from "vitest";
import { finished, handedOver, held, never, request, tokens } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";
import { agingRecord, CLAIM_MS, DAY_MS, messages, note, open, publish, quietFor, submitted } from "../../support/reconciler.ts";

const { fresh, natsUrl } = agingRecord({ claimMs: CLAIM_MS, ackWaitMs: 60_000 });

describe.each(["memory", "nats"])("%s: the reconciler", (kind) => {
  test("sends the message of a job whose API died before it could, once it has been quiet as long as a claim lives", async () => {
    const bus = await fresh(kind);
    const reconciler = await open(bus);
    await submitted(bus, "job");
    await reconciler.pass();
    expect(await messages(bus)).toEqual([]);
    await bus.age(CLAIM_MS);
    await reconciler.pass();
    await reconciler.pass();
    expect(await messages(bus)).toEqual(["prefill job"]);
    expect((await bus.queue.pull("prefill", "m", 10_000, never))?.item).toMatchObject({ jobId: "job", promptTokens: 3, outputTokens: 100 });
  });

  test("waits for a job that is noted though the record's clock is set forward before it is submitted, and not for ever", async () => {
    const bus = await fresh(kind);
    const looks: string[] = [];
    const lastStored = (jobId: string) => {
      looks.push(jobId);
      return bus.log.lastStored(jobId);
    };
    const reconciler = await open({ ...bus, log: overriding(bus.log, { lastStored }) });
    const dueMs = (await bus.log.nowMs()) + DAY_MS;
    for (const jobId of ["job", "never"]) await bus.registry.noteJob(jobId, note(dueMs));
    await bus.age(600_000);
    await reconciler.pass();
    await bus.log.submit("job", request({ model: "m", deadlineMs: dueMs }));
    await bus.age(70_000);
    await reconciler.pass();
    expect(await messages(bus)).toEqual(["prefill job"]);
    looks.length = 0;
    await reconciler.pass();
    expect(looks).not.toContain("never");
  });

  test.each([DAY_MS, -DAY_MS])(
    "audits though the record's clock is set by %i ms: what is noted is waited for, an end that nobody saw is seen, and no other again",
    async (ms) => {
      const bus = await fresh(kind);
      const reconciler = await open(bus, { retentionMs: 10 * DAY_MS });
      const fail = async (jobId: string) => {
        await submitted(bus, jobId);
        await reconciler.pass();
        await held(await bus.log.claim(jobId, "prefill", "w")).append({ type: "failed", code: "INTERNAL", message: "no luck" });
      };
      await fail("seen");
      await reconciler.pass();
      const [seen] = await bus.registry.failures(10);
      const dueMs = (await bus.log.nowMs()) + 10 * DAY_MS;
      await bus.registry.noteJob("born", note(dueMs));
      await fail("unseen");
      await bus.age(ms);
      await reconciler.audit();
      await reconciler.pass();
      expect(await bus.registry.failures(10)).toEqual([expect.objectContaining({ jobId: "unseen" }), seen]);
      await bus.log.submit("born", request({ model: "m", deadlineMs: dueMs }));
      await bus.age(70_000);
      await reconciler.pass();
      expect(await messages(bus)).toEqual(["prefill born"]);
    },
  );

  test("finds jobs from the log alone: without index, whatever phase they are in", async () => {
    const bus = await fresh(kind);
    for (const jobId of ["waits", "moved", "ended"]) await bus.log.submit(jobId, request({ model: "m" }));
    for (const jobId of ["moved", "ended"]) await held(await bus.log.claim(jobId, "prefill", "w")).append(handedOver);
    await held(await bus.log.claim("ended", "decode", "w")).append(finished);
    await bus.age(CLAIM_MS);
    await (await open(bus)).pass();
    expect(await messages(bus)).toEqual(["decode moved", "prefill waits"]);
  });

  test("restores an emptied queue, the jobs of dead holders included, and leaves those of live ones alone", async () => {
    const claimMs = 300;
    const bus = await fresh(kind, { claimMs });
    for (const jobId of ["waits", "dead", "dead in decode", "alive"]) {
      await submitted(bus, jobId);
      await publish(bus, "prefill", jobId);
    }
    const reconciler = await open(bus, { claimMs });
    await held(await bus.log.claim("dead", "prefill", "w"));
    await held(await bus.log.claim("dead in decode", "prefill", "w")).append(handedOver);
    await held(await bus.log.claim("dead in decode", "decode", "w")).append(tokens(1, 5));
    const alive = held(await bus.log.claim("alive", "prefill", "w"));
    for (const { jobId } of await bus.queue.messages("prefill")) await bus.queue.withdraw("prefill", jobId);
    await quietFor(bus, claimMs);
    await alive.append({ type: "progress", done: 1, total: 3, stored: 0, cached: 0 });
    bus.stopAt((await bus.log.lastStored("alive"))!.storedMs);
    await reconciler.pass();
    expect(await messages(bus)).toEqual(["decode dead in decode", "prefill dead", "prefill waits"]);
    expect((await bus.log.claim("dead in decode", "decode", "second")).kind).toBe("claimed");
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
    await bus.age(CLAIM_MS);
    await reconciler.pass();
    expect(await messages(bus)).toEqual(["decode job", "prefill job"]);
  });
});

test("a queue purged by somebody's hand is filled again, and the consumers that had messages in flight give every one of them", async () => {
  const bus = await fresh("nats", { prefix: "purged" });
  const jobs = ["waits", "waits too", "in flight", "acked"];
  for (const jobId of jobs) await submitted(bus, jobId);
  for (const jobId of ["acked", "in flight", "waits", "waits too"]) await publish(bus, "prefill", jobId);
  (await bus.queue.pull("prefill", "m", 10_000, never))!.ack(); // its holder dies, and its message with him
  const inFlight = await bus.queue.pull("prefill", "m", 10_000, never);
  const hand = await connect({ servers: natsUrl() });
  await hand.request("$JS.API.STREAM.PURGE.PURGED_PREFILL");
  await hand.close();
  expect(await messages(bus)).toEqual([]);
  await bus.age(CLAIM_MS);
  await (await open(bus)).pass();
  expect(await messages(bus)).toEqual(jobs.map((jobId) => `prefill ${jobId}`).sort());
  inFlight!.nak(0);
  const pulled: string[] = [];
  for (const _ of jobs) {
    const message = await bus.queue.pull("prefill", "m", 10_000, never);
    pulled.push(message?.item.jobId ?? "nothing");
    message?.ack();
  }
  expect(pulled.sort()).toEqual([...jobs].sort());
  expect(await bus.queue.pull("prefill", "m", 100, never)).toBeNull();
});
