import { describe, expect, test, vi } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import { HEADER_BYTES } from "../../../services/shared/segments/format.ts";
import { PIECE_BYTES_MIN } from "../../../services/shared/segments/redis/values.ts";
import { freshRedis, name, PIECE, put, stored } from "../../support/fresh-redis.ts";
import { LossyProxy } from "../../support/proxy.ts";
import { type Sample, sample } from "../../support/segments.ts";

const redis = freshRedis();
const { openStore, get } = redis;

describe("what Redis may do to a value", () => {
  test("losing any one part of it is a plain miss", async () => {
    const store = openStore(redis.server.url);
    const value = sample("a", 3 * PIECE + 1);
    for (const part of [0, 1, 3]) {
      await put(store, value);
      expect(await redis.server.client.del(name(value, part))).toBe(1);
      expect(await get(store, value), `part ${part}`).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 3, damaged: 0, failures: 0 });
  });

  test.each([
    ["first piece", 0, "size"],
    ["middle piece", 1, "size"],
    ["last piece", 3, "size"],
  ] as const)("a shorter, longer or empty %s is a counted miss", async (_, part, reason) => {
    const store = openStore(redis.server.url);
    const value = sample("a", 3 * PIECE + 10);
    await put(store, value);
    const whole = await redis.server.client.getBuffer(name(value, part));
    const changed = [whole!.subarray(0, -1), Buffer.concat([whole!, Buffer.of(0)]), Buffer.alloc(0)];
    for (const bytes of changed) {
      await redis.server.client.set(name(value, part), bytes);
      expect(await get(store, value)).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 0, damagedBy: { [reason]: 3 }, failures: 0 });
  });

  test("of several objections the first decides", async () => {
    const store = openStore(redis.server.url, { connections: 1 }); // so that pieces come in order
    const value = sample("a", 4 * PIECE);
    await put(store, value);
    await redis.server.client.append(name(value, 1), "x");
    await redis.server.client.del(name(value, 2));
    expect(await get(store, value)).toBeNull();
    expect(store.stats()).toMatchObject({ misses: 0, damagedBy: { size: 1 } });
  });

  test("a value of one piece cut at any byte is a counted miss, and nothing is allocated for it", async () => {
    const store = openStore(redis.server.url);
    const value = sample("a", 100);
    await put(store, value);
    const whole = await redis.server.client.getBuffer(name(value));
    expect(whole).toEqual(stored(value));
    for (let bytes = 0; bytes < whole!.length; bytes++) {
      await redis.server.client.set(name(value), whole!.subarray(0, bytes));
      expect(await get(store, value), `${bytes} bytes`).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 0, damagedBy: { size: whole!.length }, failures: 0 });
    expect(redis.ledger.allocated).toBe(0);
  });

  test("a header in front of too few bytes, too many, or another's", async () => {
    const store = openStore(redis.server.url);
    const [a, longer, other] = [sample("a", 5_000), sample("a", 9_000), sample("b", 5_000)];
    const header = (value: Sample) => stored(value).subarray(0, HEADER_BYTES);
    for (const [front, payload] of [
      [header(longer), a.payload], // a second piece would have to follow
      [header(longer), a.payload.subarray(0, PIECE_BYTES_MIN - 1)],
      [header(a), longer.payload],
      [header(a), other.payload],
      [header(a).subarray(1), a.payload],
    ] as const) {
      await redis.server.client.set(name(a), Buffer.concat([front, payload]));
      expect(await get(store, a)).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 1, damagedBy: { size: 2, checksum: 1, magic: 1 }, failures: 0 });
    expect(redis.ledger.allocated).toBe(2);
  });

  test("a first piece so short that the others would be countless is refused", async () => {
    const store = openStore(redis.server.url);
    const value = sample("a", 3 * PIECE);
    await put(store, value);
    const first = await redis.server.client.getBuffer(name(value));
    await redis.server.client.set(name(value), first!.subarray(0, HEADER_BYTES + 1));
    expect(await get(store, value)).toBeNull();
    expect(store.stats().damagedBy).toEqual({ size: 1 });
    expect(redis.ledger.allocated).toBe(0);
  });

  test("swapped values, pieces of another value, and pieces in the wrong order are counted misses", async () => {
    const store = openStore(redis.server.url);
    const [a, b] = [sample("a", 3 * PIECE), sample("b", 3 * PIECE)];
    await Promise.all([put(store, a), put(store, b)]);
    await redis.server.client.copy(name(b), name(a), "REPLACE");
    expect(await get(store, a)).toBeNull();
    await put(store, a);
    await redis.server.client.copy(name(b, 1), name(a, 1), "REPLACE");
    expect(await get(store, a)).toBeNull();
    await put(store, a);
    await redis.server.client.copy(name(a, 1), name(a, 2), "REPLACE");
    expect(await get(store, a)).toBeNull();
    expect(store.stats().damagedBy).toEqual({ key: 1, checksum: 2 });
  });

  test("a value of another type is a failure, and only of its own", async () => {
    const store = openStore(redis.server.url);
    const [a, b] = [sample("a", 10), sample("b", 10)];
    await Promise.all([put(store, a), put(store, b)]);
    await redis.server.client.del(name(a));
    await redis.server.client.lpush(name(a), "x");
    expect(await Promise.all([get(store, a), get(store, b)])).toEqual([null, true]);
    expect(store.stats().failuresBy).toEqual({ refused: 1 });
  });

  test("a piece that fails while others are on their way: memory is given back only when nothing is written to it any more", async () => {
    const store = openStore(redis.server.url);
    const [a, b] = [sample("a", 100 * PIECE), sample("b", 10)];
    await Promise.all([put(store, a), put(store, b)]);
    await redis.server.client.del(name(a, 1));
    await redis.server.client.lpush(name(a, 1), "x");
    expect(await get(store, a)).toBeNull();
    expect(await get(store, b)).toBe(true); // behind whatever is left of the first
    expect(redis.ledger).toMatchObject({ allocated: 2, balanced: true });
    expect(store.stats().failuresBy).toEqual({ refused: 1 });
  });

  test("stores with pieces of different sizes read each other", async () => {
    const [small, large] = [openStore(redis.server.url, { pieceBytes: 4_096 }), openStore(redis.server.url, { pieceBytes: 1_048_576 })];
    const [a, b] = [sample("a", 300_001), sample("b", 2_500_000)];
    await Promise.all([put(small, a), put(large, b)]);
    expect(await Promise.all([get(large, a), get(small, b)])).toEqual([true, true]);
  });

  test("several that write one key at once, in other pieces or with other bytes: whoever reads gets what one of them wrote, or nothing", async () => {
    const value = sample("a", 50_001);
    const other = { ...value, payload: Buffer.from(value.payload.map((byte) => byte ^ 1)) };
    const [fine, coarse, reader] = [4_096, 8_192, PIECE].map((pieceBytes) => openStore(redis.server.url, { pieceBytes }));
    const read = async () => {
      const memory = await reader!.get(value.key, value.head, redis.ledger.allocate);
      expect(memory === null || value.payload.equals(memory.bytes) || other.payload.equals(memory.bytes)).toBe(true);
      memory?.release();
    };
    for (let round = 0; round < 60; round++) {
      const writing = [put(fine!, value), put(coarse!, value), put(fine!, other)];
      await Promise.all([...writing, read(), read(), Promise.race(writing).then(read)]);
    }
    expect(await put(fine!, value)).toBe(true);
    expect(await get(reader!, value)).toBe(true);
    expect(reader!.stats().failures).toBe(0);
  });

  test.each([
    [10, 16],
    [262_144, 4],
    [1_048_576, 2],
  ])("after a value of %i bytes went over a connection, %i are on their way there, however many wait", async (bytes, onTheirWay) => {
    const [proxy, nobodyPort] = [await LossyProxy.start(redis.server.port), await freePort()];
    const store = openStore(`redis://127.0.0.1:${proxy.port}`, { connections: 1, pieceBytes: 1_048_576 });
    const value = sample("a", bytes);
    const absent = Array.from({ length: 40 }, (_, index) => sample(`n${index}`, 10));
    const asked = async () => Number(/cmdstat_getex:calls=(\d+)/.exec(await redis.server.client.info("commandstats"))?.[1] ?? 0);
    for (const move of [put, get]) {
      const moved = async () => expect([await move(store, value), await store.countPrefix([value.key])]).toEqual([true, 1]);
      await vi.waitFor(moved, { timeout: 20_000 });
      const before = await asked();
      const swallowed = proxy.swallow();
      const all = absent.map((each) => get(store, each));
      await swallowed;
      const onWay = async () => (await asked()) - before;
      await expect.poll(onWay, { message: move.name }).toBe(onTheirWay); // the first answer may be lost before the last question came
      proxy.targetPort = nobodyPort; // what waits is given up a window at a time: it would be asked once the connection is back
      proxy.cut();
      expect(new Set(await Promise.all(all))).toEqual(new Set([null]));
      expect(await onWay(), move.name).toBe(onTheirWay);
      proxy.targetPort = redis.server.port;
    }
    await proxy.stop();
  });

  test.each([
    ["segment", 60_000],
    ["boundary", 40_000],
  ] as const)("reading renews the life of a %s, counting does not", async (kind, ttlMs) => {
    const store = openStore(redis.server.url, { ttlMs: { segment: 60_000, boundary: 40_000 } });
    const value = sample("a", 2 * PIECE, kind);
    await put(store, value);
    const parts = [name(value), name(value, 1)];
    for (const part of parts) await redis.server.client.pexpire(part, 20_000);
    expect(await store.countPrefix([value.key])).toBe(1);
    for (const part of parts) expect(await redis.server.client.pttl(part)).toBeLessThanOrEqual(20_000);
    expect(await get(store, value)).toBe(true);
    for (const part of parts) {
      const leftMs = await redis.server.client.pttl(part);
      expect(leftMs).toBeGreaterThan(ttlMs - 15_000);
      expect(leftMs).toBeLessThanOrEqual(ttlMs);
    }
  });
});
