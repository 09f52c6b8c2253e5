import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { depth, never, until } from "../../support/bus.ts";
import { freshRecord } from "../../support/fresh-record.ts";

const { fresh } = freshRecord({});

describe.each(["memory", "nats"])("%s", (kind) => {
  describe("queue", () => {
    const item = (jobId: string, follows = 1) => ({ jobId, follows, promptTokens: 3 });

    test("gives interactive work before its surplus, and that before batch work, each oldest first, to one taker each", async () => {
      const bus = await fresh(kind);
      for (const id of ["s1", "s2"]) await bus.queue.publish("prefill", "m", "surplus", item(id));
      for (const id of ["b1", "b2"]) await bus.queue.publish("prefill", "m", "batch", item(id));
      for (const id of ["i1", "i2"]) await bus.queue.publish("prefill", "m", "interactive", item(id));
      const order: string[] = [];
      for (let i = 0; i < 6; i++) order.push((await bus.queue.pull("prefill", "m", 10_000, never))!.item.jobId);
      expect(order).toEqual(["i1", "i2", "s1", "s2", "b1", "b2"]);
      expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
      expect(await depth(bus, "prefill", "m")).toBe(6);
    });

    test("gives nothing to who stopped before he asked, and does not have him wait", async () => {
      const bus = await fresh(kind);
      expect(await bus.queue.pull("prefill", "m", 3_600_000, AbortSignal.abort())).toBeNull();
    });

    test("gives whoever polls a lane what waits there, also what came back, and nothing that others ask for", async () => {
      // What a poll waits for its answer is ten seconds for a server that is held up.
      const clock = { ...systemClock, after: (ms: number, act: () => void) => systemClock.after(20 * ms, act) };
      const bus = await fresh(kind, { ackWaitMs: 60_000, clock });
      const poll = (lane: "batch" | "interactive") => bus.queue.poll("prefill", "m", lane);
      expect([await poll("batch"), await poll("interactive")]).toEqual([null, null]);
      await bus.queue.publish("prefill", "m", "interactive", item("job"));
      expect(await poll("batch")).toBeNull();
      const first = await poll("interactive");
      expect(first).toMatchObject({ item: item("job"), phase: "prefill", lane: "interactive", deliveries: 1 });
      expect(await poll("interactive")).toBeNull();
      first!.nak(0);
      await expect.poll(async () => (await poll("interactive"))?.deliveries, { timeout: 20_000 }).toBe(2);
      const pulled = bus.queue.pull("prefill", "m", 10_000, never);
      for (let i = 0; i < 20; i++) expect(await poll("interactive")).toBeNull();
      await bus.queue.publish("prefill", "m", "interactive", item("next"));
      for (let i = 0; i < 20; i++) expect(await poll("interactive")).toBeNull();
      expect((await pulled)?.item).toEqual(item("next"));
    });

    test("gives whoever polls what came since all who pulled are busy", async () => {
      const bus = await fresh(kind, { ackWaitMs: 60_000 });
      for (const id of ["1", "2"]) await bus.queue.publish("prefill", "m", "interactive", item(id));
      for (const room of [2, 1]) expect(await bus.queue.pull("prefill", "m", 10_000, never, room)).not.toBeNull();
      expect(await bus.queue.pull("prefill", "m", 20, never, 4)).toBeNull();
      for (const id of ["3", "4"]) {
        await bus.queue.publish("prefill", "m", "interactive", item(id));
        await expect.poll(async () => (await bus.queue.poll("prefill", "m", "interactive"))?.item.jobId, { timeout: 20_000 }).toBe(id);
      }
    });

    test("gives out again what somebody has, or is believed to have, where somebody asks in vain, and only there", async () => {
      const bus = await fresh(kind, { ackWaitMs: 60_000 });
      await bus.queue.publish("prefill", "m", "batch", item("job"));
      const first = await bus.queue.pull("prefill", "m", 10_000, never);
      const renew = (lane: "batch" | "interactive") => bus.queue.renew("prefill", "m", lane);
      expect(await renew("batch")).toBe(false);
      const again = bus.queue.pull("prefill", "m", 10_000, never);
      await expect.poll(() => renew("interactive"), { timeout: 20_000 }).toBe(true);
      await expect.poll(() => renew("batch"), { timeout: 20_000 }).toBe(true);
      expect((await again)?.item).toEqual(first!.item);
      first!.ack(); // whose it was has nothing to fear, and can do no harm: the log decides
      (await again)!.ack();
      await expect.poll(() => depth(bus, "prefill", "m")).toBe(0);
      expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
    });

    test("keeps phases and models apart", async () => {
      const bus = await fresh(kind);
      await bus.queue.publish("decode", "a.b", "batch", item("job"));
      expect(await bus.queue.pull("prefill", "a.b", 20, never)).toBeNull();
      expect(await bus.queue.pull("decode", "a", 20, never)).toBeNull();
      expect(await bus.queue.pull("decode", "a.b", 10_000, never)).toMatchObject({ item: item("job"), phase: "decode", lane: "batch" });
    });

    test.each(["interactive", "surplus", "batch"] as const)("wakes a waiting puller of the %s lane at once", async (lane) => {
      const bus = await fresh(kind);
      await bus.queue.pull("prefill", "m", 1, never);
      const waitMs = 5_000;
      const askedMs = performance.now();
      const pulled = bus.queue.pull("prefill", "m", waitMs, never);
      await sleep(50);
      await bus.queue.publish("prefill", "m", lane, item("job"));
      expect((await pulled)?.item).toEqual(item("job"));
      expect(performance.now() - askedMs, "not when its wait was over").toBeLessThan(waitMs);
    });

    test("shares work among pullers without giving any message twice", async () => {
      const bus = await fresh(kind);
      const pullers = Array.from({ length: 10 }, () => bus.queue.pull("prefill", "m", 10_000, never));
      for (let i = 0; i < 10; i++) await bus.queue.publish("prefill", "m", i % 2 === 0 ? "batch" : "interactive", item(`job${i}`));
      const got = (await Promise.all(pullers)).map((message) => message!.item.jobId);
      expect(new Set(got).size).toBe(10);
    });

    test("delivers again after ack_wait without a sign of life, and counts it", async () => {
      const bus = await fresh(kind, { ackWaitMs: 1_500 });
      await bus.queue.publish("prefill", "m", "batch", item("job"));
      const first = await bus.queue.pull("prefill", "m", 10_000, never);
      for (let i = 0; i < 20; i++) {
        await sleep(100);
        first!.working();
      }
      expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
      const again = await bus.queue.pull("prefill", "m", 10_000, never);
      expect(again).toMatchObject({ item: item("job"), deliveries: 2 });
      again!.ack();
      expect(await bus.queue.pull("prefill", "m", 500, never)).toBeNull();
      await until(async () => (await depth(bus, "prefill", "m")) === 0);
    });

    test("gives back a message after the delay of its nak", async () => {
      const bus = await fresh(kind);
      await bus.queue.publish("prefill", "m", "batch", item("job"));
      const startMs = performance.now();
      (await bus.queue.pull("prefill", "m", 10_000, never))!.nak(150);
      expect(await bus.queue.pull("prefill", "m", 10_000, never)).toMatchObject({ deliveries: 2 });
      expect(performance.now() - startMs).toBeGreaterThanOrEqual(149);
    });

    test("gives back a message after the delay of its nak though all who asked for work have gone meanwhile", async () => {
      const bus = await fresh(kind, { ackWaitMs: 60_000 });
      for (const id of ["1", "2"]) await bus.queue.publish("prefill", "m", "interactive", item(id));
      const [first, second] = [await bus.queue.pull("prefill", "m", 10_000, never), await bus.queue.pull("prefill", "m", 10_000, never)];
      second!.ack();
      expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
      const delayMs = kind === "nats" ? 4_000 : 10; // half of it is for the server to be told that they have gone
      first!.nak(delayMs);
      await sleep(delayMs + 100);
      expect((await bus.queue.pull("prefill", "m", 10_000, never))?.item).toEqual(first!.item);
    });

    test("gives those with room for many what is there, in order, and the rest to others at once", async () => {
      const bus = await fresh(kind);
      for (const id of ["1", "2", "3", "4"]) await bus.queue.publish("prefill", "m", "interactive", item(id));
      await bus.queue.publish("prefill", "m", "batch", item("5"));
      const pull = (room: number) => bus.queue.pull("prefill", "m", 10_000, never, room);
      const taken = [await pull(8), await pull(7)];
      expect(taken.map((message) => message?.item.jobId)).toEqual(["1", "2"]);
      await new Promise((resolve) => setImmediate(resolve)); // the turn ends, and nobody pulls
      const rest = new Set<string>();
      for (let i = 0; i < 3; i++) rest.add((await bus.queue.pull("prefill", "m", 10_000, never))!.item.jobId);
      expect([...rest].sort()).toEqual(["3", "4", "5"]);
    });

    test("keeps asking for those who pull again and again, whichever lane the work comes to", async () => {
      const bus = await fresh(kind);
      const got: string[] = [];
      const done = (async () => {
        while (got.length < 40) {
          const message = await bus.queue.pull("prefill", "m", 10_000, never, 4);
          if (message === null) throw new Error(`nothing came after ${got.join(" ")}`);
          got.push(message.item.jobId);
          message.ack();
        }
      })();
      for (let i = 0; i < 40; i++) {
        await bus.queue.publish("prefill", "m", i % 3 === 0 ? "batch" : "interactive", item(String(i)));
        if (i % 7 === 0) await sleep(5);
      }
      await done;
      expect(got.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
      await expect.poll(() => depth(bus, "prefill", "m"), { timeout: 20_000 }).toBe(0);
    });

    test("takes a repeated publish behind the same event and of the same phase once", async () => {
      const bus = await fresh(kind);
      for (let i = 0; i < 3; i++) await bus.queue.publish("prefill", "m", "batch", item("job", 1));
      await bus.queue.publish("prefill", "m", "batch", item("job", 2));
      await bus.queue.publish("decode", "m", "batch", item("job", 1));
      expect([await depth(bus, "prefill", "m"), await depth(bus, "decode", "m")]).toEqual([2, 1]);
    });

    test("a publish that was refused for want of room is no repetition when it comes again", async () => {
      const bus = await fresh(kind, { queueMessagesMax: 1 });
      await bus.queue.publish("prefill", "m", "batch", item("first"));
      await expect(bus.queue.publish("prefill", "m", "batch", item("second"))).rejects.toMatchObject({ code: "OVERLOADED" });
      await bus.queue.withdraw("prefill", "first");
      await bus.queue.publish("prefill", "m", "batch", item("second"));
      expect(await depth(bus, "prefill", "m")).toBe(1);
    });

    test("loses nothing to a puller that goes away while it waits", async () => {
      const bus = await fresh(kind, { ackWaitMs: 60_000 });
      for (let round = 0; round < 20; round++) {
        const leaving = new AbortController();
        const pulled = bus.queue.pull("prefill", "m", 10_000, leaving.signal);
        await sleep(5);
        const published = bus.queue.publish("prefill", "m", "batch", item(`job${round}`));
        if (round % 2 === 0) leaving.abort();
        await published;
        const message = (await pulled) ?? (await bus.queue.pull("prefill", "m", 10_000, never));
        expect(message?.item.jobId).toBe(`job${round}`);
        message?.ack();
      }
    });

    test("is OVERLOADED when it is full", async () => {
      const bus = await fresh(kind, { queueMessagesMax: 3 });
      for (let i = 0; i < 3; i++) await bus.queue.publish("prefill", "m", "batch", item(`job${i}`));
      await expect(bus.queue.publish("prefill", "m", "batch", item("job3"))).rejects.toMatchObject({ code: "OVERLOADED" });
    });

    test("tells every job that has a message, by phase, with its share of the work; none once it is withdrawn, and pulling goes on", async () => {
      const bus = await fresh(kind);
      await bus.queue.publish("prefill", "a.b", "surplus", { jobId: "x.y", promptTokens: 7, outputTokens: 5, owner: "0f" });
      await bus.queue.publish("prefill", "m", "interactive", { jobId: "job", promptTokens: 3 });
      await bus.queue.publish("decode", "m", "interactive", { jobId: "job", promptTokens: 3, outputTokens: 9 });
      expect(await bus.queue.messages("decode")).toEqual([
        { jobId: "job", model: "m", lane: "interactive", promptTokens: 3, outputTokens: 9, owner: "" },
      ]);
      expect([...(await bus.queue.messages("prefill"))].sort((a, b) => b.promptTokens - a.promptTokens)).toEqual([
        { jobId: "x.y", model: "a.b", lane: "surplus", promptTokens: 7, outputTokens: 5, owner: "0f" },
        { jobId: "job", model: "m", lane: "interactive", promptTokens: 3, outputTokens: 0, owner: "" },
      ]);
      const inFlight = await bus.queue.pull("prefill", "m", 10_000, never);
      for (const jobId of ["job", "nobody"]) await bus.queue.withdraw("prefill", jobId);
      expect(await depth(bus, "prefill", "m")).toBe(0);
      inFlight!.nak(0);
      expect(await bus.queue.pull("prefill", "m", 100, never)).toBeNull();
      await bus.queue.publish("prefill", "m", "interactive", { jobId: "after", promptTokens: 1 });
      expect((await bus.queue.pull("prefill", "m", 10_000, never))?.item.jobId).toBe("after");
      expect((await bus.queue.pull("prefill", "a.b", 10_000, never))?.item).toMatchObject({
        jobId: "x.y",
        promptTokens: 7,
        outputTokens: 5,
      });
    });
  });
});
