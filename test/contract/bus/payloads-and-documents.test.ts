import { describe, expect, test } from "vitest";
import { documentsBehind } from "../../../services/shared/batches/batch.ts";
import { sinceMs, until } from "../../support/bus.ts";
import { freshRecord } from "../../support/fresh-record.ts";

const MIB = 1_048_576;

const { fresh } = freshRecord({});

describe.each(["memory", "nats"])("%s", (kind) => {
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
      await bus.payloads.delete("key2"); // one kind had room for it; the other for a part, which must not stay
      const another = new Uint8Array(0.75 * MIB);
      await bus.payloads.put("another", another);
      await bus.payloads.delete("key0");
      for (let i = 0; i < 3; i++) await bus.payloads.put("another", another); // nothing stays of what is replaced
      expect((await bus.payloads.get("key1"))?.length).toBe(MIB);
    });

    test("tell what they take of how much", async () => {
      const { payloads } = await fresh(kind, { payloadsMaxBytes: 3 * MIB });
      expect(await payloads.room()).toEqual({ bytes: 0, bytesMax: 3 * MIB });
      await payloads.put("a", new Uint8Array(MIB));
      await payloads.put("a", new Uint8Array(MIB));
      const { bytes } = await payloads.room();
      expect([bytes >= MIB, bytes < 1.01 * MIB]).toEqual([true, true]);
      await payloads.delete("a");
      expect((await payloads.room()).bytes).toBe(0);
    });

    test("live no longer than the log: an old one makes room", async () => {
      const bus = await fresh(kind, { logMaxAgeMs: 500, payloadsMaxBytes: 3 * MIB });
      await bus.payloads.put("old", new Uint8Array(2 * MIB));
      await until(async () => (await bus.payloads.get("old")) === null);
      await bus.payloads.put("new", new Uint8Array(2 * MIB));
    });
  });

  describe("documents", () => {
    const place = async (written: Promise<number | null>): Promise<number> => (await written) ?? Number.NaN;

    test("are written behind the place that their writer knows, by one of many writers", async () => {
      const beganMs = performance.now();
      const { documents, log } = await fresh(kind);
      const first = await place(documents.put("batch", "a.b", "id", "one", 0));
      expect(await documents.put("batch", "a.b", "id", "other", 0)).toBeNull();
      const racers = await Promise.all(["x", "y", "z"].map((text) => documents.put("batch", "a.b", "id", text, first)));
      const won = racers.findIndex((racer) => racer !== null);
      expect(racers.filter((racer) => racer !== null)).toHaveLength(1);
      expect(racers[won]).toBeGreaterThan(first);
      const found = await documents.get("batch", "a.b", "id");
      expect(found).toEqual({ tenant: "a.b", id: "id", text: "xyz"[won], place: racers[won], storedMs: expect.any(Number) });
      expect(Math.abs(found!.storedMs - (await log.nowMs()))).toBeLessThanOrEqual(sinceMs(beganMs));
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

    test("tell what they take of how much", async () => {
      const { documents } = await fresh(kind, { documentsMaxBytes: MIB });
      for (let i = 0; i < 10; i++) await documents.put(i < 5 ? "file" : "batch", `tenant ${i}`, `id ${i}`, "ä".repeat(500), 0);
      await documents.put("event", "tenant", "id", "small", (await documents.put("event", "tenant", "id", "x".repeat(9_000), 0))!);
      const { bytes, bytesMax } = await documents.room();
      expect([bytes >= 10_000, bytes <= 10_000 + 11 * 256, bytesMax]).toEqual([true, true, MIB]);
      for (let i = 0; i < 10; i++) await documents.delete(i < 5 ? "file" : "batch", `tenant ${i}`, `id ${i}`);
      expect((await documents.room()).bytes).toBeLessThan(300);
    });

    test("of ends have room of their own: neither they nor those of batches and files fill that of the others", async () => {
      const { documents } = await fresh(kind, { documentsMaxBytes: MIB, endsMaxBytes: MIB / 2 });
      const text = "x".repeat(MIB / 8);
      const fill = async (of: "event" | "batch", count: number) => {
        for (let i = 0; i < count; i++) await documents.put(of, "t", `${i}`, text, 0);
      };
      await expect(fill("event", 5)).rejects.toMatchObject({ code: "OVERLOADED" });
      expect((await documents.room()).bytes).toBe(0);
      await fill("batch", 7);
      await expect(fill("batch", 9)).rejects.toMatchObject({ code: "OVERLOADED" });
      await documents.delete("event", "t", "0");
      expect(await documents.put("event", "t", "new", "small", 0)).not.toBeNull();
    });

    test("come in pages of bounded size, and all of them, however large they are", async () => {
      const bus = await fresh(kind);
      const ids = Array.from({ length: 20 }, (_, i) => String(i).padStart(2, "0"));
      for (const id of ids) await bus.documents.put("batch", "t", id, "x".repeat(700_000), 0);
      if (kind === "nats") expect((await bus.documents.behind("batch", null, 0, 500)).map(({ id }) => id)).toEqual(ids.slice(0, 5));
      const found: string[] = [];
      for await (const { id } of documentsBehind(bus, "batch", null, 0)) found.push(id);
      expect(found).toEqual(ids);
    });

    test("are read to an end under a writer that never stops, each of them, also one that is written anew", async () => {
      const bus = await fresh(kind);
      const places = new Map<string, number>();
      const write = async (id: string) => {
        const at = await place(bus.documents.put("batch", "t", id, "x".repeat(20_000), places.get(id) ?? 0));
        places.set(id, at);
        return at;
      };
      const ids = Array.from({ length: 300 }, (_, i) => `${i}`); // more than a page of NATS
      for (const id of ids) await write(id);
      expect(await bus.documents.end("batch")).toBe(places.get("299"));
      const found = new Set<string>();
      let [read, moved] = [0, 300];
      for await (const { id } of documentsBehind(bus, "batch", null, 0)) {
        found.add(id);
        if (++read > 3_000) break;
        if (read === 1) await write("299"); // before it is read
        await write(`${moved++}`);
      }
      expect(read).toBeLessThan(3_000);
      expect(ids.filter((id) => !found.has(id))).toEqual([]);
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
});
