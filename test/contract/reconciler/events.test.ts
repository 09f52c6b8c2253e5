import { describe, expect, test } from "vitest";
import { deleteJob } from "../../../services/api/jobs/jobs.ts";
import { Reconciler } from "../../../services/api/reconciler/reconciler.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { finished, request } from "../../support/bus.ts";
import { freshRecord } from "../../support/fresh-record.ts";
import { overriding } from "../../support/overriding.ts";
import { CLAIM_MS, DAY_MS, lastType, note, open, reconcilerOf } from "../../support/reconciler.ts";

const { fresh } = freshRecord({ claimMs: CLAIM_MS, ackWaitMs: 60_000 });

describe.each(["memory", "nats"])("%s: the reconciler", (kind) => {
  test("writes down the end of each job that nobody need read, once however often it is seen, and as long as the job is kept", async () => {
    const bus = await fresh(kind);
    const again = () => Reconciler.audit(reconcilerOf(bus, { webhooks: true }));
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
      const endedAt = Math.floor((await bus.log.lastStored(jobId))!.storedMs / 1_000);
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
    const reconciler = await open(narrow, { webhooks: true });
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
});
