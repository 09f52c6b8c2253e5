import { describe, expect, test } from "vitest";
import { sinceMs, until } from "../../support/bus.ts";
import { freshRecord } from "../../support/fresh-record.ts";

const { fresh } = freshRecord({});

describe.each(["memory", "nats"])("%s", (kind) => {
  describe("registry", () => {
    test("shows beats by role until their life is over or they retire", async () => {
      const bus = await fresh(kind);
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
      expect((await bus.registry.beats("api")).size).toBe(0);
      const brief = await fresh(kind, { beatLifeMs: 500 });
      await brief.registry.beat("prefill", "worker", "one");
      await until(async () => (await brief.registry.beats("prefill")).size === 0);
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
      await bus.registry.forgetKey("two");
      await bus.registry.forgetKey("unknown");
      expect((await bus.registry.keptKeys(0, 10)).map(({ id }) => id)).toEqual(["three", "one"]);
    });

    test("remembers the first value of a key, for its life time", async () => {
      const bus = await fresh(kind);
      const key = "Idempotency-Key ".repeat(100);
      expect(await bus.registry.recall(key)).toBe(null);
      const answers = await Promise.all(["a", "b", "c"].map((value) => bus.registry.remember(key, value)));
      const winners = answers.filter((answer) => answer === null);
      expect(winners).toHaveLength(1);
      expect([...new Set(answers.filter((answer) => answer !== null))]).toEqual([await bus.registry.recall(key)]);
      const brief = await fresh(kind, { keyLifeMs: 500 });
      await brief.registry.remember(key, "first");
      await until(async () => (await brief.registry.remember(key, "later")) === null);
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
      for (let i = 0; i < 20; i++) await bus.registry.noteJob("job3", i === 19 ? "last" : "again"); // each leaves a hole where it was
      const latest = (await bus.registry.jobs(3)).map(({ jobId, text }) => [jobId, text]);
      expect(latest).toEqual([
        ["job3", "last"],
        ["job9", "99"],
        ["job8", "98"],
      ]);
      expect(await bus.registry.jobs(50)).toHaveLength(10);
      expect(await bus.registry.jobs(0)).toEqual([]);
    });

    test("tells notes and marks behind a place, oldest first, until the job is forgotten", async () => {
      const beganMs = performance.now();
      const bus = await fresh(kind);
      const { registry } = bus;
      for (let i = 0; i < 5; i++) await registry.noteJob(`job.${i}`, `note ${i}`);
      await registry.noteJob("job.1", "again");
      const notes = await registry.notes(0, 3);
      expect(notes.map(({ jobId, text }) => [jobId, text])).toEqual([0, 2, 3].map((i) => [`job.${i}`, `note ${i}`]));
      expect(Math.abs((await bus.log.nowMs()) - notes[0]!.notedMs)).toBeLessThanOrEqual(sinceMs(beganMs));
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
});
