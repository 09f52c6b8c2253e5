import { describe, expect, test } from "vitest";
import { REPLICAS, readersOf } from "../../../services/api/beats.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { request } from "../../support/bus.ts";
import { agingRecord, BEAT_MS, CLAIM_MS, DAY_MS, GRACE_MS, lastType, open, publish } from "../../support/reconciler.ts";

const { fresh } = agingRecord({ claimMs: CLAIM_MS, ackWaitMs: 60_000, beatLifeMs: 60_000 });

/** A job that waits, as `replica` took it for a reader; null: for none. */
async function taken(bus: Bus, jobId: string, replica: string | null): Promise<void> {
  const deadlineMs = (await bus.log.nowMs()) + DAY_MS;
  const note = { model: "m", tenant: "tenant", lane: "interactive", promptTokens: 3, deadlineMs };
  await bus.registry.noteJob(jobId, JSON.stringify(replica === null ? note : { ...note, body: "digest", replica }));
  await bus.log.submit(jobId, request({ model: "m", deadlineMs, detached: replica === null }));
  await publish(bus, "prefill", jobId);
}

describe.each(["memory", "nats"])("%s: of a replica that is gone", (kind) => {
  test("a job is cancelled once nobody came back for it within the grace; others are not", async () => {
    const bus = await fresh(kind);
    await bus.registry.beat(REPLICAS, "here", "1");
    await taken(bus, "left", "gone");
    await taken(bus, "attended", "here");
    await taken(bus, "detached", null);
    const reconciler = await open(bus);
    const types = async () => [await lastType(bus, "left"), await lastType(bus, "attended"), await lastType(bus, "detached")];
    const passAfter = async (ms: number) => {
      await bus.age(ms);
      await reconciler.pass();
      return types();
    };
    const waiting = ["submitted", "submitted", "submitted"];
    expect(await passAfter(0)).toEqual(waiting);
    expect(await passAfter(GRACE_MS - 1), "it may come back").toEqual(waiting);
    expect(await passAfter(1), "it is asked for once more").toEqual(waiting);
    expect(await passAfter(2 * BEAT_MS)).toEqual(["cancelled", "submitted", "submitted"]);
    expect((await bus.log.last("left"))!.event).toEqual({ type: "cancelled", by: "its last reader left" });
  });

  test("whoever reads it elsewhere keeps it, and has a grace of his own when he leaves", async () => {
    const bus = await fresh(kind);
    await taken(bus, "left", "gone");
    const reconciler = await open(bus);
    const passAfter = async (ms: number) => {
      await bus.age(ms);
      await reconciler.pass();
      return lastType(bus, "left");
    };
    await passAfter(0);
    await bus.registry.beat(readersOf("left"), "there", "");
    expect(await passAfter(GRACE_MS)).toBe("submitted");
    expect(await passAfter(GRACE_MS)).toBe("submitted");
    await bus.registry.retire(readersOf("left"), "there");
    expect(await passAfter(GRACE_MS - 1)).toBe("submitted");
    expect(await passAfter(1)).toBe("submitted");
    expect(await passAfter(2 * BEAT_MS)).toBe("cancelled");
  });

  test("nobody is gone because a server that was started again has forgotten who is there", async () => {
    const bus = await fresh(kind);
    await bus.registry.beat(REPLICAS, "here", "1");
    await taken(bus, "attended", "here");
    const reconciler = await open(bus, { graceMs: 0 });
    const passAfter = async (ms: number) => {
      await bus.age(ms);
      await reconciler.pass();
      return lastType(bus, "attended");
    };
    for (let i = 0; i < 4; i++) {
      await bus.registry.retire(REPLICAS, "here");
      await passAfter(BEAT_MS);
      await bus.registry.beat(REPLICAS, "here", "2");
      expect(await passAfter(BEAT_MS)).toBe("submitted");
    }
  });
});
