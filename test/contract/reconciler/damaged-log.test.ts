import { describe, expect, test } from "vitest";
import { Reconciler } from "../../../services/api/reconciler/reconciler.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import type { BusOptions } from "../../../services/shared/bus/settings.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { held, never } from "../../support/bus.ts";
import { junk, newer, openToOthers } from "../../support/damage.ts";
import { freshRecord } from "../../support/fresh-record.ts";
import { aging, CLAIM_MS, messages, open, publish, reconcilerOf, submitted } from "../../support/reconciler.ts";

const { opened } = freshRecord({ claimMs: CLAIM_MS, ackWaitMs: 400 });

async function agingAndOpen(kind: string, more: Partial<BusOptions> = {}) {
  const { bus, write } = await opened(openToOthers, kind, more);
  return { bus: aging(bus), write };
}

/** A job as an API leaves it, with its message. */
async function queued(bus: Bus, jobId: string, deadlineMs?: number): Promise<void> {
  await submitted(bus, jobId, deadlineMs);
  await publish(bus, "prefill", jobId);
}

describe.each(["memory", "nats"])("%s", (kind) => {
  test("the reconciler sees to all other jobs, leaves the damaged ones and their messages alone, and fails them at their deadline", async () => {
    const { bus, write } = await agingAndOpen(kind);
    const dueMs = (await bus.log.nowMs()) + 10 * CLAIM_MS;
    await queued(bus, "damaged", dueMs);
    await queued(bus, "beginning", dueMs);
    await bus.log.delete("beginning");
    await write("beginning", junk);
    for (const jobId of ["waits", "late"]) await queued(bus, jobId, jobId === "late" ? 0 : undefined);
    await bus.queue.withdraw("prefill", "waits");
    await held(await bus.log.claim("damaged", "prefill", "w"));
    const sequence = await write("damaged", junk);
    await write("of nobody", junk);
    await bus.registry.noteJob("no note", "{");

    const metrics = openMetrics();
    for (const open of [Reconciler.open, Reconciler.audit]) {
      const reconciler = await open(reconcilerOf(bus, { metrics }));
      await bus.age(CLAIM_MS);
      await reconciler.pass();
    }
    expect((await bus.log.last("late"))?.event.type).toBe("expired");
    expect(await messages(bus)).toEqual(["prefill beginning", "prefill damaged", "prefill waits"]);
    expect(await bus.log.lastStored("damaged")).toMatchObject({ sequence, record: null });

    const reconciler = await Reconciler.audit(reconcilerOf(bus, { metrics }));
    await bus.age(10 * CLAIM_MS);
    await reconciler.pass();
    await reconciler.pass(); // sees the end
    const failed = { type: "failed", code: "DAMAGED", message: `event ${sequence} of damaged could not be read before the deadline` };
    expect(await bus.log.last("damaged")).toMatchObject({ event: failed, epoch: 1, attempt: 1, previous: sequence });
    expect((await bus.registry.failures(10)).map(({ jobId, text }) => [jobId, JSON.parse(text)])).toEqual([
      ["damaged", { model: "m", tenant: "tenant", code: "DAMAGED", message: failed.message, attempt: 1, claims: 1 }],
    ]);
    expect((await bus.log.last("beginning"))?.event).toMatchObject({ type: "failed", code: "DAMAGED" });
    expect(await messages(bus)).toEqual(["prefill waits"]);
    expect(await metrics.text()).toContain('longshore_reconciled_jobs_total{reason="failed"} 2');
  });

  test("a damaged job that is cancelled ends as soon as nobody can be at work on it", async () => {
    const { bus, write } = await agingAndOpen(kind);
    await queued(bus, "job");
    await write("job", newer);
    await bus.registry.markCancelled("job", "the client");
    const reconciler = await open(bus);
    await reconciler.pass();
    expect((await bus.log.lastStored("job"))?.record).toBeNull();
    await bus.age(CLAIM_MS);
    await reconciler.pass();
    expect((await bus.log.last("job"))?.event).toEqual({ type: "cancelled", by: "the client" });
    expect(await messages(bus)).toEqual([]);
  });

  test("a job that is damaged in the middle is not taken for one whose message NATS gives nobody", async () => {
    const { bus, write } = await agingAndOpen(kind, { ackWaitMs: 60_000 });
    await queued(bus, "job");
    await write("job", junk);
    expect(await bus.log.appendAfter((await bus.log.lastStored("job"))!, { type: "sent_back", reason: "the test" })).toBe(true);
    expect(await bus.queue.pull("prefill", "m", 10_000, never)).not.toBeNull();
    const leaving = new AbortController();
    const idle = bus.queue.pull("prefill", "m", 30_000, leaving.signal);
    const metrics = openMetrics();
    const reconciler = await open(bus, { metrics });
    await bus.age(4 * CLAIM_MS);
    await reconciler.pass();
    await reconciler.pass();
    leaving.abort();
    expect(await idle).toBeNull();
    expect(await metrics.text()).not.toContain("message not given");
  });
});
