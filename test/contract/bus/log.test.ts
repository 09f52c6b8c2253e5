import { describe, expect, test } from "vitest";
import { collect, fillLog, finished, held, never, progress, request, sinceMs, submitAndClaim, tokens, until } from "../../support/bus.ts";
import { freshRecord } from "../../support/fresh-record.ts";

const MIB = 1_048_576;

const { fresh } = freshRecord({});

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

    test("finds no room in a full log, where claims wait for it and its clock goes on", async () => {
      const beganMs = performance.now();
      const options = { prefix: "full", logMaxBytes: MIB };
      const bus = await fresh(kind, options);
      const claim = await submitAndClaim(bus, "running");
      await fillLog(bus, "filler");
      const ids = Array.from({ length: 1_000 }, (_, i) => i); // an event longer than the shortest that found no room
      const appended = claim.append(tokens(0, ...ids));
      const other = kind === "memory" ? bus : await fresh(kind, options);
      expect(Math.abs((await other.log.nowMs()) - Date.now()), "asked by who never did").toBeLessThanOrEqual(sinceMs(beganMs));
      await expect(other.log.submit("new", request())).rejects.toMatchObject({ code: "OVERLOADED", message: /nearly full/ });
      expect((await other.log.last("running"))?.event.type).toBe("claimed");
      await other.log.delete("filler");
      expect((await appended)?.tokenCount).toBe(1_000);
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

  describe("lasts", () => {
    test("tells the last event of every job, the first of one, and when it was stored by the record's clock", async () => {
      const beganMs = performance.now();
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
      expect(Math.abs((await bus.log.nowMs()) - lasts[1]!.storedMs)).toBeLessThanOrEqual(sinceMs(beganMs));
      expect(await bus.log.first("a.b")).toEqual(first);
      expect([await bus.log.first("nobody"), await bus.log.lastStored("nobody")]).toEqual([null, null]);
      const times = await bus.log.storedTimes("a.b");
      expect([...times.keys()]).toEqual((await bus.log.read("a.b")).map(({ sequence }) => sequence));
      expect([...times.values()]).toEqual([...times.values()].toSorted((x, y) => x - y));
      expect(times.get(ended!.sequence)).toBe(lasts[1]!.storedMs);
      expect(await bus.log.storedTimes("nobody")).toEqual(new Map());
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

    test("tells a reader who knows more than the log holds that it lost that, while the job goes on and once it ended", async () => {
      const bus = await fresh(kind);
      const claim = await submitAndClaim(bus, "job");
      const beyond = (await claim.append(tokens(0, 0)))!.sequence + 1_000;
      const lost = { code: "UNAVAILABLE", message: expect.stringContaining("lost events of job") };
      await expect(collect(bus.log.follow("job", beyond, AbortSignal.timeout(20_000)))).rejects.toMatchObject(lost);
      await claim.append(finished);
      await expect(collect(bus.log.follow("job", beyond, never))).rejects.toMatchObject(lost);
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
});
