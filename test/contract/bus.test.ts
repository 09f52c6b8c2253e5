import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import type { BusOptions } from "../../services/shared/bus/settings.ts";
import {
  collect,
  depth,
  faultsOf,
  finished,
  handedOver,
  held,
  never,
  progress,
  request,
  submitAndClaim,
  takeOver,
  tokens,
} from "../support/bus.ts";
import { NatsServer } from "../support/nats.ts";

const MIB = 1_048_576;
const CLAIM_MS = 300;

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

/** A fresh cluster: nothing in the record but what the test puts there. */
async function fresh(kind: string, options: Partial<BusOptions> = {}): Promise<Bus> {
  const url = kind === "memory" ? "memory:" : server.url;
  const limits = { logMaxBytes: 32 * MIB, payloadsMaxBytes: 64 * MIB, claimMs: CLAIM_MS, attemptsMax: 3 };
  const bus = openBus({ url, prefix: `t${++clusters}`, ...limits, ...options });
  opened.push(bus);
  await bus.ready(5_000);
  return bus;
}

describe.each(["memory", "nats"])("%s", (kind) => {
  describe("submit", () => {
    test("is the first record, and repeating it gives the same", async () => {
      const bus = await fresh(kind);
      const first = await bus.log.submit("job", request());
      expect(first).toMatchObject({ jobId: "job", previous: 0, epoch: 0, phase: "prefill", attempt: 0, tokenCount: 0 });
      expect(await bus.log.submit("job", request())).toEqual(first);
      expect(await bus.log.read("job")).toEqual([first]);
    });

    test("of another request under the same id is a CONFLICT", async () => {
      const bus = await fresh(kind);
      await bus.log.submit("job", request());
      await expect(bus.log.submit("job", request({ maxTokens: 5 }))).rejects.toMatchObject({ code: "CONFLICT" });
    });

    test("keeps ids apart whatever characters they have", async () => {
      const bus = await fresh(kind);
      const ids = ["a.b", "a=2Eb", "a b", "*", ">", "ä", "a/b"];
      for (const id of ids) await bus.log.submit(id, request({ tenant: id }));
      for (const id of ids) expect((await bus.log.last(id))?.event).toMatchObject({ request: { tenant: id } });
    });

    test("is OVERLOADED at 80 % of the log, while running jobs still have room; deleting jobs makes room", async () => {
      const bus = await fresh(kind, { logMaxBytes: MIB });
      const claim = await submitAndClaim(bus, "running");
      const large = request({ prompt: { ids: new Int32Array(50_000).fill(1) } });
      let submitted = 0;
      const fill = async () => {
        for (; submitted < 100; submitted++) await bus.log.submit(`job${submitted}`, large);
      };
      await expect(fill()).rejects.toMatchObject({ code: "OVERLOADED" });
      expect(submitted).toBeGreaterThan(5);
      expect(await claim.append(progress(1))).not.toBeNull();
      for (let i = 0; i < submitted; i++) await bus.log.delete(`job${i}`);
      await until(() => bus.log.submit("after", large).then(Boolean, () => false));
    });

    test("is forgotten when the log's events get too old", async () => {
      const bus = await fresh(kind, { logMaxAgeMs: 1_000 });
      await bus.log.submit("job", request());
      await until(async () => (await bus.log.last("job")) === null);
      expect((await bus.log.claim("job", "prefill", "w")).kind).toBe("over");
    });

    test("of more than fits a record is TOO_LARGE", async () => {
      const bus = await fresh(kind);
      const huge = request({ prompt: { ids: new Int32Array(900_000).fill(1) } });
      await expect(bus.log.submit("job", huge)).rejects.toMatchObject({ code: "TOO_LARGE" });
    });
  });

  describe("claim", () => {
    test("has exactly one winner among racers, and the log shows it", async () => {
      const bus = await fresh(kind);
      await bus.log.submit("job", request());
      const results = await Promise.all(Array.from({ length: 8 }, (_, i) => bus.log.claim("job", "prefill", `w${i}`)));
      expect(results.filter(({ kind }) => kind === "claimed")).toHaveLength(1);
      expect(results.filter(({ kind }) => kind === "held")).toHaveLength(7);
      expect((await bus.log.read("job")).map(({ event }) => event.type)).toEqual(["submitted", "claimed"]);
    });

    test("is kept by appends and taken over once they stop; the zombie's late append is refused for ever", async () => {
      const bus = await fresh(kind);
      const zombie = await submitAndClaim(bus, "job");
      for (let i = 1; i <= 5; i++) {
        await sleep(CLAIM_MS / 3);
        await zombie.append(progress(i));
        expect((await bus.log.claim("job", "prefill", "second")).kind).toBe("held");
      }
      const successor = held(await takeOver(bus, "job", "prefill", "second"));
      expect(successor.epoch).toBe(zombie.epoch + 1);
      expect(await zombie.append(progress(6))).toBeNull();
      expect(zombie.lost).toBe(true);
      expect(await successor.append(handedOver)).not.toBeNull();
      expect(await zombie.append(finished)).toBeNull();
      const records = await bus.log.read("job");
      expect(faultsOf(records)).toEqual([]);
      expect(records.filter(({ event }) => event.type === "progress")).toHaveLength(5);
    });

    test("is over for an unknown job, another phase, and an ended job", async () => {
      const bus = await fresh(kind);
      expect((await bus.log.claim("nobody", "prefill", "w")).kind).toBe("over");
      const claim = await submitAndClaim(bus, "job");
      await claim.append(handedOver);
      expect((await bus.log.claim("job", "prefill", "w")).kind).toBe("over");
      await held(await bus.log.claim("job", "decode", "w")).append(finished);
      expect((await bus.log.claim("job", "decode", "w")).kind).toBe("over");
    });

    test("takes a hint that is true for the log, and reads past one that is stale, incomplete or of another phase", async () => {
      const bus = await fresh(kind);
      const submitted = await bus.log.submit("job", request());
      const first = await bus.log.claim("job", "prefill", "first", [submitted]);
      if (first.kind !== "claimed") throw new Error(first.kind);
      expect(first.history).toEqual(await bus.log.read("job"));
      expect(await bus.log.claim("job", "prefill", "late", [submitted])).toEqual({ kind: "held" });
      await first.claim.append({ type: "released", reason: "test" });
      const second = held(await bus.log.claim("job", "prefill", "second", first.history));
      expect([second.epoch, second.attempt]).toEqual([2, 2]);
      await second.append(handedOver);
      const whole = await bus.log.read("job");
      expect(await bus.log.claim("job", "prefill", "astray", whole)).toEqual({ kind: "over" });
      const third = await bus.log.claim("job", "decode", "third", [whole[0]!, whole.at(-1)!]);
      if (third.kind !== "claimed") throw new Error(third.kind);
      expect(third.history).toEqual(await bus.log.read("job"));
      await third.claim.append(finished);
      expect(await bus.log.claim("job", "decode", "fourth", whole)).toEqual({ kind: "over" });
      expect(faultsOf(await bus.log.read("job"))).toEqual([]);
    });

    test("by a hint of a job that was deleted is over", async () => {
      const bus = await fresh(kind);
      const submitted = await bus.log.submit("job", request());
      await bus.log.delete("job");
      for (const sequence of [submitted.sequence, 0]) {
        expect(await bus.log.claim("job", "prefill", "worker", [{ ...submitted, sequence }])).toEqual({ kind: "over" });
        expect(await bus.log.read("job")).toEqual([]);
      }
    });

    test("needs no wait after handed_over, sent_back and released", async () => {
      const bus = await fresh(kind);
      await (await submitAndClaim(bus, "job")).append({ type: "released", reason: "draining" });
      await held(await bus.log.claim("job", "prefill", "second")).append(handedOver);
      await held(await bus.log.claim("job", "decode", "third")).append({ type: "sent_back", reason: "segment gone" });
      const fourth = held(await bus.log.claim("job", "prefill", "fourth"));
      expect([fourth.epoch, fourth.tokenCount]).toEqual([4, 1]);
    });

    test("ends with the event that ends it", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      expect(await claim.append(handedOver)).toMatchObject({ phase: "decode", tokenCount: 1 });
      expect(await claim.append(finished)).toBeNull();
      expect((await bus.log.last("job"))?.event.type).toBe("handed_over");
    });

    test("counts attempts that stored nothing, forgives excused releases, and is exhausted after attemptsMax", async () => {
      const bus = await fresh(kind);
      const release = { type: "released", reason: "engine failed" } as const;
      const first = await submitAndClaim(bus, "job");
      expect(first.attempt).toBe(1);
      await first.append({ ...release, excused: true });
      for (const attempt of [1, 2]) {
        const claim = held(await bus.log.claim("job", "prefill", "w"));
        expect(claim.attempt).toBe(attempt);
        await claim.append(release);
      }
      const storing = held(await bus.log.claim("job", "prefill", "w"));
      expect(storing.attempt).toBe(3);
      await storing.append(progress(1));
      expect(storing.attempt).toBe(0);
      await storing.append(release);
      for (const attempt of [1, 2, 3]) {
        const result = await bus.log.claim("job", "prefill", "w");
        expect([result.kind, held(result).attempt]).toEqual(["claimed", attempt]);
        await held(result).append(release);
      }
      const result = await bus.log.claim("job", "prefill", "w");
      expect(result.kind).toBe("exhausted");
      expect(await held(result).append({ type: "failed", code: "INTERNAL", message: "gave up" })).not.toBeNull();
    });

    test("refuses tokens that leave a hole or come twice", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      await claim.append(tokens(0, 1, 2));
      await expect(claim.append(tokens(1, 3))).rejects.toMatchObject({ code: "INTERNAL" });
      await expect(claim.append(tokens(3, 3))).rejects.toMatchObject({ code: "INTERNAL" });
      expect(await claim.append(tokens(2, 3))).toMatchObject({ tokenCount: 3 });
    });

    test("appends overlapping calls in the order they were made", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      await Promise.all(Array.from({ length: 20 }, (_, i) => claim.append(tokens(i, i))));
      expect(faultsOf(await bus.log.read("job"))).toEqual([]);
      expect(claim.tokenCount).toBe(20);
    });
  });

  describe("appendAfter", () => {
    test("appends behind the last event and nowhere else, and ends the holder's claim", async () => {
      const bus = await fresh(kind);
      const submitted = await bus.log.submit("job", request());
      const claim = held(await bus.log.claim("job", "prefill", "w"));
      expect(await bus.log.appendAfter(submitted, { type: "cancelled", by: "client" })).toBe(false);
      const last = await bus.log.last("job");
      expect(await bus.log.appendAfter(last!, { type: "cancelled", by: "client" })).toBe(true);
      expect(await claim.append(progress(1))).toBeNull();
    });

    test("has one winner among many that end the same job (I2)", async () => {
      const bus = await fresh(kind);
      const submitted = await bus.log.submit("job", request());
      const ends = await Promise.all(Array.from({ length: 8 }, () => bus.log.appendAfter(submitted, { type: "expired" })));
      expect(ends.filter(Boolean)).toHaveLength(1);
      expect(await bus.log.read("job")).toHaveLength(2);
    });
  });

  describe("what the reconciler asks", () => {
    test("the last event of every job, the first of one, and when it was stored by the record's clock", async () => {
      const bus = await fresh(kind);
      const first = await bus.log.submit("a.b", request());
      await bus.log.submit("second", request());
      const claim = held(await bus.log.claim("a.b", "prefill", "w"));
      const ended = await claim.append({ type: "failed", code: "INTERNAL", message: "" });
      const lasts = await collect(bus.log.lasts());
      expect(lasts.map(({ jobId, record }) => [jobId, record?.event.type])).toEqual([
        ["second", "submitted"],
        ["a.b", "failed"],
      ]);
      expect(await bus.log.lastStored("a.b")).toEqual(lasts[1]);
      expect(lasts[1]).toMatchObject({ record: ended, sequence: ended!.sequence });
      expect(Math.abs((await bus.log.nowMs()) - lasts[1]!.storedMs)).toBeLessThan(1_000);
      expect(await bus.log.first("a.b")).toEqual(first);
      expect([await bus.log.first("nobody"), await bus.log.lastStored("nobody")]).toEqual([null, null]);
      const times = await bus.log.storedTimes("a.b");
      expect([...times.keys()]).toEqual((await bus.log.read("a.b")).map(({ sequence }) => sequence));
      expect([...times.values()]).toEqual([...times.values()].toSorted((x, y) => x - y));
      expect(times.get(ended!.sequence)).toBe(lasts[1]!.storedMs);
      expect(await bus.log.storedTimes("nobody")).toEqual(new Map());
    });

    test("every job that has a message, by phase, with its share of the work; none once it is withdrawn, and pulling goes on", async () => {
      const bus = await fresh(kind);
      await bus.queue.publish("prefill", "a.b", "batch", { jobId: "x.y", promptTokens: 7, outputTokens: 5 });
      await bus.queue.publish("prefill", "m", "interactive", { jobId: "job", promptTokens: 3 });
      await bus.queue.publish("decode", "m", "interactive", { jobId: "job", promptTokens: 3, outputTokens: 9 });
      expect(await bus.queue.messages("decode")).toEqual([
        { jobId: "job", model: "m", lane: "interactive", promptTokens: 3, outputTokens: 9 },
      ]);
      expect([...(await bus.queue.messages("prefill"))].sort((a, b) => b.promptTokens - a.promptTokens)).toEqual([
        { jobId: "x.y", model: "a.b", lane: "batch", promptTokens: 7, outputTokens: 5 },
        { jobId: "job", model: "m", lane: "interactive", promptTokens: 3, outputTokens: 0 },
      ]);
      const inFlight = await bus.queue.pull("prefill", "m", 1_000, never);
      for (const jobId of ["job", "nobody"]) await bus.queue.withdraw("prefill", jobId);
      expect(await depth(bus, "prefill", "m")).toBe(0);
      inFlight!.nak(0);
      expect(await bus.queue.pull("prefill", "m", 100, never)).toBeNull();
      await bus.queue.publish("prefill", "m", "interactive", { jobId: "after", promptTokens: 1 });
      expect((await bus.queue.pull("prefill", "m", 1_000, never))?.item.jobId).toBe("after");
      expect((await bus.queue.pull("prefill", "a.b", 1_000, never))?.item).toEqual({ jobId: "x.y", promptTokens: 7, outputTokens: 5 });
    });

    test("notes and marks behind a place, oldest first, until the job is forgotten", async () => {
      const bus = await fresh(kind);
      const { registry } = bus;
      for (let i = 0; i < 5; i++) await registry.noteJob(`job.${i}`, `note ${i}`);
      await registry.noteJob("job.1", "again");
      const notes = await registry.notes(0, 3);
      expect(notes.map(({ jobId, text }) => [jobId, text])).toEqual([0, 2, 3].map((i) => [`job.${i}`, `note ${i}`]));
      expect(Math.abs((await bus.log.nowMs()) - notes[0]!.notedMs)).toBeLessThan(1_000);
      const rest = await registry.notes(notes[2]!.place, 10);
      expect(rest.map(({ text }) => text)).toEqual(["note 4", "again"]);
      expect(await registry.notes(rest[1]!.place, 10)).toEqual([]);
      await registry.markCancelled("job.3", "client");
      await registry.markCancelled("job.4", "reader");
      const marks = await registry.cancelMarks(0, 10);
      expect(marks.map(({ jobId, text }) => [jobId, text])).toEqual([
        ["job.3", "client"],
        ["job.4", "reader"],
      ]);
      await registry.forget("job.3");
      expect((await registry.notes(0, 10)).map(({ jobId }) => jobId)).toEqual(["job.0", "job.2", "job.4", "job.1"]);
      expect([await registry.cancelMark("job.3"), await registry.cancelMarks(marks[0]!.place, 10)]).toEqual([null, [marks[1]]]);
    });
  });

  describe("follow", () => {
    test("gives readers from any position every event once and in order, and ends with the job", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      const readers = [collect(bus.log.follow("job", 0, never)), collect(bus.log.follow("job", 1, never))];
      for (let i = 0; i < 40; i++) {
        const record = await claim.append(tokens(i, i));
        if (i % 10 === 5) readers.push(collect(bus.log.follow("job", record!.sequence, never)));
      }
      await claim.append(finished);
      const all = await bus.log.read("job");
      const seen = await Promise.all(readers);
      const starts = [0, 1, ...[5, 15, 25, 35].map((i) => all[2 + i]!.sequence)];
      for (const [index, start] of starts.entries()) expect(seen[index]).toEqual(all.filter(({ sequence }) => sequence > start));
      expect(await collect(bus.log.follow("job", 0, never))).toEqual(all);
      expect(await collect(bus.log.follow("job", all.at(-1)!.sequence, never))).toEqual([]);
    });

    test("loses nothing to a reader who knows how the log begins, even if all of it came before he listened", async () => {
      const bus = await fresh(kind);
      const begun = [await bus.log.submit("job", request())];
      const readers = [collect(bus.log.follow("job", 0, never, begun))];
      const claim = held(await bus.log.claim("job", "prefill", "w"));
      readers.push(collect(bus.log.follow("job", 0, never, begun)));
      await claim.append({ type: "failed", code: "INTERNAL", message: "" });
      readers.push(collect(bus.log.follow("job", 0, never, begun)));
      const all = await bus.log.read("job");
      expect(await Promise.all(readers)).toEqual([all, all, all]);
    });

    test("of a reader that does not read slows nobody, and it still sees everything", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      const reader = bus.log.follow("job", 0, never)[Symbol.asyncIterator]();
      const first = await reader.next();
      const count = 1_500;
      for (let i = 0; i < count; i++) await claim.append(tokens(i, i));
      await claim.append(finished);
      const rest = await collect({ [Symbol.asyncIterator]: () => reader });
      expect([first.value, ...rest]).toEqual(await bus.log.read("job"));
      expect(rest).toHaveLength(count + 2);
    });

    test("waits for a job that is not there yet, ends when its signal aborts, and when its job is deleted", async () => {
      const bus = await fresh(kind);
      const early = collect(bus.log.follow("later", 0, never));
      const aborting = new AbortController();
      const endless = collect(bus.log.follow("never", 0, aborting.signal));
      await (await submitAndClaim(bus, "later")).append({ type: "failed", code: "INTERNAL", message: "" });
      expect((await early).map(({ event }) => event.type)).toEqual(["submitted", "claimed", "failed"]);
      aborting.abort();
      expect(await endless).toEqual([]);

      await bus.log.submit("deleted", request());
      const reader = bus.log.follow("deleted", 0, never)[Symbol.asyncIterator]();
      expect((await reader.next()).done).toBe(false);
      await bus.log.delete("deleted");
      expect((await reader.next()).done).toBe(true);
      expect(await bus.log.read("deleted")).toEqual([]);
      expect((await bus.log.submit("deleted", request())).previous).toBe(0);
    });
  });

  describe("queue", () => {
    const item = (jobId: string, epoch = 0) => ({ jobId, epoch, promptTokens: 3 });

    test("gives interactive work before batch work, each oldest first, to one taker each", async () => {
      const bus = await fresh(kind);
      for (const id of ["b1", "b2"]) await bus.queue.publish("prefill", "m", "batch", item(id));
      for (const id of ["i1", "i2"]) await bus.queue.publish("prefill", "m", "interactive", item(id));
      const order: string[] = [];
      for (let i = 0; i < 4; i++) order.push((await bus.queue.pull("prefill", "m", 1_000, never))!.item.jobId);
      expect(order).toEqual(["i1", "i2", "b1", "b2"]);
      expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
      expect(await depth(bus, "prefill", "m")).toBe(4);
    });

    test("tells whether work waits that nobody was given", async () => {
      const bus = await fresh(kind);
      const waits = () => Promise.all([bus.queue.waits("prefill", "m", "batch"), bus.queue.waits("prefill", "m", "interactive")]);
      expect(await waits()).toEqual([false, false]);
      await bus.queue.publish("prefill", "m", "interactive", item("job"));
      expect(await waits()).toEqual([false, true]);
      expect(await bus.queue.pull("prefill", "m", 1_000, never)).not.toBeNull();
      expect(await waits()).toEqual([false, false]);
    });

    test("gives out again what somebody has, or is believed to have, where somebody asks in vain, and only there", async () => {
      const bus = await fresh(kind, { ackWaitMs: 60_000 });
      await bus.queue.publish("prefill", "m", "batch", item("job"));
      const first = await bus.queue.pull("prefill", "m", 1_000, never);
      const renew = (lane: "batch" | "interactive") => bus.queue.renew("prefill", "m", lane);
      expect(await renew("batch")).toBe(false);
      const again = bus.queue.pull("prefill", "m", 10_000, never);
      await expect.poll(() => renew("interactive"), { timeout: 5_000 }).toBe(true);
      await expect.poll(() => renew("batch"), { timeout: 5_000 }).toBe(true);
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
      expect(await bus.queue.pull("decode", "a.b", 1_000, never)).toMatchObject({ item: item("job"), phase: "decode", lane: "batch" });
    });

    test.each(["interactive", "batch"] as const)("wakes a waiting puller of the %s lane at once", async (lane) => {
      const bus = await fresh(kind);
      await bus.queue.pull("prefill", "m", 1, never);
      const pulled = bus.queue.pull("prefill", "m", 10_000, never);
      await sleep(50);
      const startMs = performance.now();
      await bus.queue.publish("prefill", "m", lane, item("job"));
      expect((await pulled)?.item).toEqual(item("job"));
      expect(performance.now() - startMs).toBeLessThan(1_000);
    });

    test("shares work among pullers without giving any message twice", async () => {
      const bus = await fresh(kind);
      const pullers = Array.from({ length: 10 }, () => bus.queue.pull("prefill", "m", 10_000, never));
      for (let i = 0; i < 10; i++) await bus.queue.publish("prefill", "m", i % 2 === 0 ? "batch" : "interactive", item(`job${i}`));
      const got = (await Promise.all(pullers)).map((message) => message!.item.jobId);
      expect(new Set(got).size).toBe(10);
    });

    test("delivers again after ack_wait without a sign of life, and counts it", async () => {
      const bus = await fresh(kind, { ackWaitMs: 300 });
      await bus.queue.publish("prefill", "m", "batch", item("job"));
      const first = await bus.queue.pull("prefill", "m", 1_000, never);
      for (let i = 0; i < 4; i++) {
        await sleep(150);
        first!.working();
      }
      expect(await bus.queue.pull("prefill", "m", 50, never)).toBeNull();
      const again = await bus.queue.pull("prefill", "m", 5_000, never);
      expect(again).toMatchObject({ item: item("job"), deliveries: 2 });
      again!.ack();
      expect(await bus.queue.pull("prefill", "m", 500, never)).toBeNull();
      await until(async () => (await depth(bus, "prefill", "m")) === 0);
    });

    test("gives back a message after the delay of its nak", async () => {
      const bus = await fresh(kind);
      await bus.queue.publish("prefill", "m", "batch", item("job"));
      const startMs = performance.now();
      (await bus.queue.pull("prefill", "m", 1_000, never))!.nak(150);
      expect(await bus.queue.pull("prefill", "m", 5_000, never)).toMatchObject({ deliveries: 2 });
      expect(performance.now() - startMs).toBeGreaterThanOrEqual(149);
    });

    test("gives those with room for many what is there, in order, and the rest to others at once", async () => {
      const bus = await fresh(kind);
      for (const id of ["1", "2", "3", "4"]) await bus.queue.publish("prefill", "m", "interactive", item(id));
      await bus.queue.publish("prefill", "m", "batch", item("5"));
      const pull = (room: number) => bus.queue.pull("prefill", "m", 1_000, never, room);
      const taken = [await pull(8), await pull(7)];
      expect(taken.map((message) => message?.item.jobId)).toEqual(["1", "2"]);
      await new Promise((resolve) => setImmediate(resolve)); // the turn ends, and nobody pulls
      const rest = new Set<string>();
      for (let i = 0; i < 3; i++) rest.add((await bus.queue.pull("prefill", "m", 1_000, never))!.item.jobId);
      expect([...rest].sort()).toEqual(["3", "4", "5"]);
    });

    test("keeps asking for those who pull again and again, whichever lane the work comes to", async () => {
      const bus = await fresh(kind);
      const got: string[] = [];
      const done = (async () => {
        while (got.length < 40) {
          const message = await bus.queue.pull("prefill", "m", 5_000, never, 4);
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
      await expect.poll(() => depth(bus, "prefill", "m"), { timeout: 5_000 }).toBe(0);
    });

    test("takes a repeated publish of the same epoch and phase once", async () => {
      const bus = await fresh(kind);
      for (let i = 0; i < 3; i++) await bus.queue.publish("prefill", "m", "batch", item("job", 1));
      await bus.queue.publish("prefill", "m", "batch", item("job", 2));
      await bus.queue.publish("decode", "m", "batch", item("job", 1));
      expect([await depth(bus, "prefill", "m"), await depth(bus, "decode", "m")]).toEqual([2, 1]);
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
        const message = (await pulled) ?? (await bus.queue.pull("prefill", "m", 5_000, never));
        expect(message?.item.jobId).toBe(`job${round}`);
        message?.ack();
      }
    });

    test("is OVERLOADED when it is full", async () => {
      const bus = await fresh(kind, { queueMessagesMax: 3 });
      for (let i = 0; i < 3; i++) await bus.queue.publish("prefill", "m", "batch", item(`job${i}`));
      await expect(bus.queue.publish("prefill", "m", "batch", item("job3"))).rejects.toMatchObject({ code: "OVERLOADED" });
    });
  });

  describe("payloads", () => {
    test.each([0, 1, 524_288, 8 * MIB + 3])("of %d bytes come back as they were, replaced and deleted at will", async (size) => {
      const bus = await fresh(kind);
      const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 7) ^ (i >> 9));
      await bus.payloads.put(
        "key of/any.kind",
        bytes.map((byte) => ~byte),
      );
      await bus.payloads.put("key of/any.kind", bytes);
      expect(Buffer.compare((await bus.payloads.get("key of/any.kind"))!, bytes)).toBe(0);
      expect(await bus.payloads.get("key")).toBeNull();
      await bus.payloads.delete("key of/any.kind");
      await bus.payloads.delete("key of/any.kind");
      expect(await bus.payloads.get("key of/any.kind")).toBeNull();
    });

    test("have a largest size each and together", async () => {
      const bus = await fresh(kind, { payloadBytesMax: MIB, payloadsMaxBytes: 3 * MIB });
      await expect(bus.payloads.put("large", new Uint8Array(MIB + 1))).rejects.toMatchObject({ code: "TOO_LARGE" });
      const fill = async () => {
        for (let i = 0; i < 4; i++) await bus.payloads.put(`key${i}`, new Uint8Array(MIB));
      };
      await expect(fill()).rejects.toMatchObject({ code: "OVERLOADED" });
      await bus.payloads.delete("key0");
      await bus.payloads.put("another", new Uint8Array(MIB / 2));
      expect((await bus.payloads.get("key1"))?.length).toBe(MIB);
    });

    test("live no longer than the log: an old one makes room", async () => {
      const bus = await fresh(kind, { logMaxAgeMs: 500, payloadsMaxBytes: 3 * MIB });
      await bus.payloads.put("old", new Uint8Array(2 * MIB));
      await until(async () => (await bus.payloads.get("old")) === null);
      await bus.payloads.put("new", new Uint8Array(2 * MIB));
      expect((await bus.payloads.get("new"))?.length).toBe(2 * MIB);
    });
  });

  describe("documents", () => {
    const place = async (written: Promise<number | null>): Promise<number> => (await written) ?? Number.NaN;

    test("are written behind the place that their writer knows, by one of many writers", async () => {
      const { documents, log } = await fresh(kind);
      const first = await place(documents.put("batch", "a.b", "id", "one", 0));
      expect(await documents.put("batch", "a.b", "id", "other", 0)).toBeNull();
      const racers = await Promise.all(["x", "y", "z"].map((text) => documents.put("batch", "a.b", "id", text, first)));
      const won = racers.findIndex((racer) => racer !== null);
      expect(racers.filter((racer) => racer !== null)).toHaveLength(1);
      expect(racers[won]).toBeGreaterThan(first);
      const found = await documents.get("batch", "a.b", "id");
      expect(found).toEqual({ tenant: "a.b", id: "id", text: "xyz"[won], place: racers[won], storedMs: expect.any(Number) });
      expect(Math.abs(found!.storedMs - (await log.nowMs()))).toBeLessThan(5_000);
      await documents.delete("batch", "a.b", "id");
      expect(await documents.get("batch", "a.b", "id")).toBeNull();
      expect(await documents.put("batch", "a.b", "id", "again", 0)).not.toBeNull();
    });

    test("have a largest size together, and a life: what is too much is OVERLOADED, what is deleted or old makes room", async () => {
      const { documents } = await fresh(kind, { documentsMaxBytes: MIB, filesMaxAgeMs: 3_000 });
      const text = "x".repeat(MIB / 4);
      const fill = async () => {
        for (let i = 0; i < 5; i++) await documents.put("file", "t", `${i}`, text, 0);
      };
      await expect(fill()).rejects.toMatchObject({ code: "OVERLOADED" });
      await documents.delete("file", "t", "0");
      const place = (await documents.put("file", "t", "new", "small", 0))!;
      expect(await documents.put("file", "t", "new", "larger", place)).not.toBeNull();
      await until(async () => (await documents.behind("file", "t", 0, 10)).length === 0);
      expect(await documents.put("file", "t", "new", text, 0)).not.toBeNull();
    });

    test("are told apart by kind, tenant and id, and listed in the order they were last written", async () => {
      const { documents } = await fresh(kind);
      const places = new Map<string, number>();
      for (const tenant of ["one", "two"])
        for (const id of ["a", "b", "c"])
          places.set(`${tenant} ${id}`, await place(documents.put("file", tenant, id, `${tenant} ${id}`, 0)));
      await documents.put("batch", "one", "a", "a batch", 0);
      await documents.put("file", "one", "a", "one a again", places.get("one a")!);
      const texts = async (tenant: string | null, after: number, max: number) =>
        (await documents.behind("file", tenant, after, max)).map(({ text }) => text);
      expect(await texts("one", 0, 10)).toEqual(["one b", "one c", "one a again"]);
      expect(await texts(null, places.get("one c")!, 10)).toEqual(["two a", "two b", "two c", "one a again"]);
      expect(await texts(null, 0, 2)).toEqual(["one b", "one c"]);
      expect(await texts("none", 0, 10)).toEqual([]);
    });
  });

  describe("registry", () => {
    test("shows beats by role until their life is over or they retire", async () => {
      const bus = await fresh(kind, { beatLifeMs: 500 });
      await bus.registry.beat("prefill", "worker 1.a", "one");
      await bus.registry.beat("prefill", "worker 2", "two");
      await bus.registry.beat("decode", "worker 3", "three");
      await bus.registry.beat("prefill", "worker 2", "two again");
      expect(new Map(await bus.registry.beats("prefill"))).toEqual(
        new Map([
          ["worker 1.a", "one"],
          ["worker 2", "two again"],
        ]),
      );
      await bus.registry.retire("prefill", "worker 2");
      expect([...(await bus.registry.beats("prefill")).keys()]).toEqual(["worker 1.a"]);
      await until(async () => (await bus.registry.beats("prefill")).size === 0);
      expect((await bus.registry.beats("api")).size).toBe(0);
    });

    test("keeps API keys, whatever else grows old, and tells what is new behind a place", async () => {
      const bus = await fresh(kind, { beatLifeMs: 300, keyLifeMs: 300 });
      for (const id of ["one", "two", "three"]) await bus.registry.keepKey(id, `${id}, new`);
      const kept = await bus.registry.keptKeys(0, 2);
      expect(kept.map(({ id, text }) => [id, text])).toEqual([
        ["one", "one, new"],
        ["two", "two, new"],
      ]);
      await bus.registry.keepKey("one", "one, revoked");
      await bus.registry.remember("k", "v");
      await until(async () => (await bus.registry.remember("k", "later")) === null);
      const later = await bus.registry.keptKeys(kept[1]!.place, 10);
      expect(later.map(({ text }) => text)).toEqual(["three, new", "one, revoked"]);
      expect(await bus.registry.keptKeys(later[1]!.place, 10)).toEqual([]);
    });

    test("remembers the first value of a key, for its life time", async () => {
      const bus = await fresh(kind, { keyLifeMs: 500 });
      const key = "Idempotency-Key ".repeat(100);
      const answers = await Promise.all(["a", "b", "c"].map((value) => bus.registry.remember(key, value)));
      const winners = answers.filter((answer) => answer === null);
      expect(winners).toHaveLength(1);
      expect(new Set(answers.filter((answer) => answer !== null)).size).toBe(1);
      await until(async () => (await bus.registry.remember(key, "later")) === null);
    });

    test("keeps cancel marks and nudges those who listen, until they stop", async () => {
      const bus = await fresh(kind);
      const nudged: string[] = [];
      const listening = new AbortController();
      await bus.registry.onCancel((jobId) => nudged.push(jobId), listening.signal);
      await bus.registry.markCancelled("a.b", "client");
      await until(() => nudged.length === 1);
      expect(nudged).toEqual(["a.b"]);
      expect(await bus.registry.cancelMark("a.b")).toBe("client");
      expect(await bus.registry.cancelMark("other")).toBeNull();
    });

    test("lists jobs, the latest note first", async () => {
      const bus = await fresh(kind);
      expect(await bus.registry.jobs(3)).toEqual([]);
      for (let i = 0; i < 100; i++) await bus.registry.noteJob(`job${i % 10}`, `${i}`);
      await bus.registry.noteJob("job3", "last");
      const latest = (await bus.registry.jobs(3)).map(({ jobId, text }) => [jobId, text]);
      expect(latest).toEqual([
        ["job3", "last"],
        ["job9", "99"],
        ["job8", "98"],
      ]);
      expect(await bus.registry.jobs(50)).toHaveLength(10);
      expect(await bus.registry.jobs(0)).toEqual([]);
    });
  });
});

/** Waits for a condition that time brings about by itself. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = Date.now() + 10_000; Date.now() < endMs; await sleep(10)) if (await holds()) return;
  throw new Error("it did not come about within 10 s");
}
