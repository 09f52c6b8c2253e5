import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { fillLog, finished, held, request } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";
import { agingRecord, CLAIM_MS, DAY_MS, lastType, messages, note, open, publish, quietFor, submitted } from "../../support/reconciler.ts";

const { fresh } = agingRecord({ claimMs: CLAIM_MS, ackWaitMs: 60_000 });

describe.each(["memory", "nats"])("%s: the reconciler", (kind) => {
  test("ends what is late or cancelled where nobody holds it, and takes its message away", async () => {
    const bus = await fresh(kind);
    const metrics = openMetrics();
    const reconciler = await open(bus, { metrics });
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
    await bus.age(CLAIM_MS);
    await reconciler.pass();
    expect([await lastType(bus, "held"), await lastType(bus, "fine")]).toEqual(["expired", "submitted"]);
    expect(await claim.append(finished)).toBeNull();
    const text = await metrics.text();
    expect(text).toContain('longshore_reconciled_jobs_total{reason="expired"} 2');
    expect(text).toContain('longshore_reconciled_jobs_total{reason="cancelled"} 1');
  });

  test("ends a job that was cancelled and whose holder is gone though the record's clock was set back meanwhile", async () => {
    const bus = await fresh(kind);
    await submitted(bus, "job");
    held(await bus.log.claim("job", "prefill", "w"));
    await bus.registry.markCancelled("job", "the client");
    await bus.age(-2 * CLAIM_MS);
    await (await open(bus)).pass();
    expect(await lastType(bus, "job")).toBe("cancelled");
  });

  test("lets go of what is over its retention though the log is too full to end another job, which then finds room", async () => {
    const bus = await fresh(kind, { logMaxBytes: 1_048_576 });
    for (const jobId of ["done", "marked"]) await submitted(bus, jobId);
    const answer = { first: 0, ids: new Array<number>(4_000).fill(7) };
    await held(await bus.log.claim("done", "prefill", "w")).append({ ...finished, tokens: answer });
    await bus.registry.markCancelled("marked", "x".repeat(1_000)); // longer than what found no room
    await fillLog(bus, "filler");
    await quietFor(bus, 1);
    const reconciler = await open(bus, { retentionMs: 1 });
    await reconciler.pass();
    expect([reconciler.noRoom?.code, await lastType(bus, "marked"), await lastType(bus, "done")]).toEqual([
      "OVERLOADED",
      "submitted",
      undefined,
    ]);
    await reconciler.pass();
    expect([reconciler.noRoom, await lastType(bus, "marked")]).toEqual([null, "cancelled"]);
  });

  test("lets go of what is over its retention though its own marks find no room", async () => {
    const bus = await fresh(kind);
    await submitted(bus, "done");
    await held(await bus.log.claim("done", "prefill", "w")).append(finished);
    await quietFor(bus, 1);
    const raiseLowWater = () => Promise.reject(new ServingError("OVERLOADED", "nats-server stores nothing more"));
    const full = { ...bus, registry: overriding(bus.registry, { raiseLowWater }) };
    const reconciler = await open(full, { retentionMs: 1 });
    for (let passes = 0; passes < 2; passes++) await reconciler.pass();
    expect([reconciler.noRoom?.message, await lastType(bus, "done")]).toEqual(["nats-server stores nothing more", undefined]);
  });

  test("knows the deadline of a job it found without a note too", async () => {
    const bus = await fresh(kind);
    await bus.log.submit("job", request({ model: "m", deadlineMs: (await bus.log.nowMs()) + 2 * CLAIM_MS }));
    await held(await bus.log.claim("job", "prefill", "w")).append({ type: "released", reason: "drained" });
    await publish(bus, "prefill", "job");
    const reconciler = await open(bus);
    await reconciler.pass();
    await bus.age(2 * CLAIM_MS);
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

  test("logs the jobs that failed, and keeps them where they can be listed, latest first, until they are forgotten", async () => {
    const bus = await fresh(kind);
    const lines: { msg: string; jobId: string; message: string }[] = [];
    const reconciler = await open(bus, { log: pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) }) });
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
    expect(lines.map(({ msg, jobId, message }) => [msg, jobId, message])).toEqual([
      ["a job failed", "first", "no luck with first"],
      ["a job failed", "second", "no luck with second"],
    ]);
    await bus.registry.forget("second");
    expect((await bus.registry.failures(10)).map(({ jobId }) => jobId)).toEqual(["first"]);
    expect(await bus.registry.cancelMarks(0, 10)).toEqual([]);
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
    bus.stopAt((await bus.log.lastStored("young"))!.storedMs);
    const reconciler = await open(bus, { retentionMs: 900 });
    await reconciler.pass();
    expect(await Promise.all(["old", "large", "open", "young"].map((jobId) => lastType(bus, jobId)))).toEqual([
      undefined,
      undefined,
      "submitted",
      "finished",
    ]);
    expect((await bus.registry.notes(0, 10)).map(({ jobId }) => jobId)).toEqual(["open", "young"]);
    expect([await bus.payloads.get("large"), await bus.registry.cancelMark("old")]).toEqual([null, null]);
    await bus.age(1_000);
    await reconciler.pass();
    expect([await lastType(bus, "open"), await lastType(bus, "young")]).toEqual(["submitted", undefined]);
  });
});

test("a deadline is the record's: a machine whose clock is ten minutes ahead ends nothing early", async () => {
  const fast = { ...systemClock, nowMs: () => Date.now() + 600_000 };
  const bus = await fresh("nats", { clock: fast });
  await submitted(bus, "job", (await bus.log.nowMs()) + 60_000);
  await (await open(bus)).pass();
  expect(await lastType(bus, "job")).toBe("submitted");
});
