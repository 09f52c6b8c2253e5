import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { nativeSums } from "../../../services/shared/engine/kernels.ts";
import type { Clock } from "../../../services/shared/runtime/clock.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import type { CountedStore, SegmentKey } from "../../../services/shared/segments/contract.ts";
import { HEADER_BYTES } from "../../../services/shared/segments/format.ts";
import { MemoryStore } from "../../../services/shared/segments/memory-store.ts";
import { type Sums, zlibSums } from "../../../services/shared/segments/sums.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { type RedisCluster, startRedisCluster } from "../../support/redis-cluster.ts";
import { testSeed } from "../../support/seed.ts";
import { Ledger, redisStore, type Sample, sample } from "../../support/segments.ts";

const PIECE = 65_536;
const BOUNDARY_MS = 30_000;

/** A store, and what a test does behind its back. */
interface Subject {
  readonly store: CountedStore;
  /** Time passes: what is stored is so much nearer to its end. */
  elapse(ms: number): Promise<void>;
  /** Flips bits of the stored value: header, then payload. */
  flip(key: SegmentKey, offset: number, mask: number): Promise<void>;
  close(): Promise<void>;
}

function memorySubject(): Subject {
  let now = 0;
  const clock: Clock = {
    nowMs: () => now,
    monotonicMs: () => now,
    sleep: () => Promise.reject(new Error("stores do not sleep")),
    after: () => () => {},
  };
  const ttlMs = { segment: 60_000, boundary: BOUNDARY_MS };
  const store = new MemoryStore({ bytesMax: 400_000_000, ttlMs, clock, log: silentLog });
  return {
    store,
    elapse: async (ms) => {
      now += ms;
    },
    flip: async (key, offset, mask) => {
      store.stored(key)![offset]! ^= mask;
    },
    close: () => store.close(),
  };
}

/** `client` finds keys, wherever they are, in a way of its own. `servers`: all that may have some. */
function redisSubject(
  url: string,
  client: RedisServer["client"] | RedisCluster["client"],
  servers: readonly RedisServer[],
  sums: Sums,
  pieceBytes: number,
): Subject {
  const store = redisStore(url, { pieceBytes, sums, ttlMs: { segment: 60_000, boundary: BOUNDARY_MS } });
  return {
    store,
    elapse: async (ms) => {
      for (const name of (await Promise.all(servers.map((server) => server.client.keys("*")))).flat()) {
        const leftMs = await client.pttl(name);
        if (leftMs >= 0) await client.pexpire(name, leftMs - ms); // what has no end stays
      }
    },
    flip: async (key, offset, mask) => {
      const piece = Math.max(0, Math.floor((offset - HEADER_BYTES) / pieceBytes));
      const name = piece === 0 ? `test:{${key}}` : `test:{${key}}:${piece}`;
      const at = piece === 0 ? offset : (offset - HEADER_BYTES) % pieceBytes;
      const [byte] = await client.getrangeBuffer(name, at, at);
      await client.setrange(name, at, Buffer.of(byte! ^ mask));
    },
    close: () => store.close(),
  };
}

let server: RedisServer;
let cluster: RedisCluster;
beforeAll(async () => {
  [server, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
});
afterAll(() => Promise.all([server.stop(), cluster.stop()]));

const native = nativeSums();
const single = (sums: Sums, pieceBytes: number) => redisSubject(server.url, server.client, [server], sums, pieceBytes);

describe.each([
  ["memory", memorySubject],
  ["redis", () => single(zlibSums, PIECE)],
  ["redis cluster of three masters", () => redisSubject(cluster.url, cluster.client, cluster.masters, zlibSums, PIECE)],
  ...(native === null ? [] : [["redis, with the kernels' sums, as workers have it", () => single(native, 4 * PIECE)] as const]),
] as const)("%s", (_, open) => {
  let subject: Subject;
  let store: CountedStore;
  let ledger: Ledger;
  beforeEach(async () => {
    await Promise.all([server.flush(), cluster.flush()]);
    subject = open();
    store = subject.store;
    ledger = new Ledger();
  });
  afterEach(() => subject.close());

  const put = ({ key, head, payload }: Sample) => store.put(key, head, payload);
  /** A copy of the payload; its memory is released. */
  async function get({ key, head }: Sample): Promise<Buffer | null> {
    const memory = await store.get(key, head, ledger.allocate);
    const bytes = memory && Buffer.from(memory.bytes);
    memory?.release();
    return bytes;
  }

  test.each([0, 1, 4_095, PIECE - 1, PIECE, PIECE + 1, PIECE + HEADER_BYTES, 3 * PIECE, 8_388_608])(
    "%i bytes come back as they were",
    async (bytes) => {
      const value = sample("a", bytes);
      expect(await get(value)).toBeNull();
      expect(await put(value)).toBe(true);
      expect((await get(value))?.equals(value.payload)).toBe(true);
      expect(store.stats()).toMatchObject({
        hits: 1,
        misses: 1,
        damaged: 0,
        failures: 0,
        bytesOut: bytes,
        stored: { segment: { puts: 1, bytes } },
      });
      expect(ledger).toMatchObject({ allocated: 1, balanced: true });
    },
  );

  test("a store reads nothing but the payload, and what it gives is the caller's own", async () => {
    const value = sample("a", 1_000);
    const before = Buffer.from(value.payload);
    await put(value);
    expect(value.payload.equals(before)).toBe(true);
    const memory = await store.get(value.key, value.head, ledger.allocate);
    memory!.bytes.fill(0);
    expect((await get(value))?.equals(before)).toBe(true);
  });

  test("every flipped bit of the header is a counted miss", async () => {
    const value = sample("a", 100);
    await put(value);
    for (let bit = 0; bit < 8 * HEADER_BYTES; bit++) {
      await subject.flip(value.key, bit >> 3, 1 << (bit & 7));
      expect(await get(value), `bit ${bit}`).toBeNull();
      await subject.flip(value.key, bit >> 3, 1 << (bit & 7));
    }
    expect(store.stats()).toMatchObject({
      hits: 0,
      damaged: 8 * HEADER_BYTES,
      damagedBy: { magic: 32, version: 16, header: 8 * (HEADER_BYTES - 6) },
    });
    expect(ledger.allocated).toBe(0);
    expect(await get(value)).not.toBeNull();
  });

  test("flipped bits of the payload are counted misses, wherever they are", async () => {
    const value = sample("a", 3 * PIECE + 5);
    await put(value);
    const random = seededRandom(testSeed());
    const edges = [0, PIECE - 1, PIECE, 3 * PIECE + 4];
    const offsets = [...edges, ...Array.from({ length: 60 }, () => random.u32() % value.payload.length)];
    for (const offset of offsets) {
      const mask = 1 << (random.u32() & 7);
      await subject.flip(value.key, HEADER_BYTES + offset, mask);
      expect(await get(value), `offset ${offset}`).toBeNull();
      await subject.flip(value.key, HEADER_BYTES + offset, mask);
    }
    expect(store.stats().damagedBy).toEqual({ checksum: offsets.length });
    expect(ledger.balanced).toBe(true);
  });

  test("a value of another model, layout, range or kind is a counted miss", async () => {
    const value = sample("a", 100);
    await put(value);
    const { head } = value;
    expect(await get({ ...value, head: { ...head, fingerprint: new Uint8Array(32) } })).toBeNull();
    expect(await get({ ...value, head: { ...head, layout: "plain" } })).toBeNull();
    expect(await get({ ...value, head: { ...head, firstToken: head.firstToken + 128 } })).toBeNull();
    expect(await get({ ...value, head: { ...head, layerCount: 3 } })).toBeNull();
    expect(await get({ ...value, head: { ...head, kind: "boundary" } })).toBeNull();
    expect(store.stats().damagedBy).toEqual({ fingerprint: 1, layout: 1, range: 2, kind: 1 });
    expect(ledger.allocated).toBe(0);
  });

  test("a damaged value is healed by the next put", async () => {
    const value = sample("a", 100);
    await put(value);
    await subject.flip(value.key, HEADER_BYTES, 1);
    expect(await get(value)).toBeNull();
    await put(value);
    expect((await get(value))?.equals(value.payload)).toBe(true);
  });

  test("countPrefix counts up to the first missing key", async () => {
    const values = Array.from({ length: 700 }, (_, index) => sample(`n${index}`, 10));
    const keys = values.map(({ key }) => key);
    expect(await store.countPrefix([])).toBe(0);
    expect(await store.countPrefix(keys)).toBe(0);
    const missing = [0, 15, 16, 530, 699];
    await Promise.all(values.filter((_, index) => !missing.includes(index)).map(put));
    for (const index of missing) {
      expect(await store.countPrefix(keys)).toBe(index);
      await put(values[index]!);
    }
    expect(await store.countPrefix(keys)).toBe(700);
    expect(store.stats()).toMatchObject({ hits: 0, misses: 0, bytesOut: 0 });
  });

  test("a value expires when nobody uses it, and each kind has its own time", async () => {
    const [boundary, segment] = [sample("a", 2 * PIECE, "boundary"), sample("b", 10)];
    await Promise.all([put(boundary), put(segment)]);
    expect(await store.countPrefix([boundary.key])).toBe(1);
    await subject.elapse(BOUNDARY_MS);
    expect(await store.countPrefix([boundary.key])).toBe(0);
    expect(await get(boundary)).toBeNull();
    expect(await get(segment)).not.toBeNull();
  });

  test("a claim belongs to one owner at a time, and only that one ends it", async () => {
    const { key } = sample("a", 0);
    expect(await store.claim(key, "one", 60_000)).toBe(true);
    expect(await store.claim(key, "two", 60_000)).toBe(false);
    expect(await store.claim(key, "one", 60_000)).toBe(true);
    await store.unclaim(key, "two");
    expect(await store.claim(key, "two", 60_000)).toBe(false);
    await store.unclaim(key, "one");
    expect(await store.claim(key, "two", 60_000)).toBe(true);
    expect(await store.claim(sample("b", 0).key, "one", 60_000)).toBe(true);
  });

  test("of many that ask for a claim at once, one gets it", async () => {
    const { key } = sample("a", 0);
    const answers = await Promise.all(Array.from({ length: 50 }, (_, owner) => store.claim(key, `owner ${owner}`, 60_000)));
    expect(answers.filter((granted) => granted)).toHaveLength(1);
  });

  test("a claim ends by itself unless it is renewed", async () => {
    const [left, kept] = [sample("a", 0).key, sample("b", 0).key];
    await store.claim(kept, "one", 30_000);
    await store.claim(left, "one", 30_000);
    await store.claim(kept, "one", 60_000);
    expect(await store.claim(left, "two", 1)).toBe(false);
    await subject.elapse(30_000);
    expect(await store.claim(left, "two", 60_000)).toBe(true);
    expect(await store.claim(kept, "two", 60_000)).toBe(false);
  });

  test("memory that cannot be had is a miss, not an exception", async () => {
    const value = sample("a", 2 * PIECE);
    await put(value);
    const allocate = () => {
      throw new Error("no room");
    };
    expect(await store.get(value.key, value.head, allocate)).toBeNull();
    expect(store.stats().failuresBy).toEqual({ memory: 1 });
    expect(await get(value)).not.toBeNull();
  });

  test("a hundred puts and gets at once, of any size, do not mix", async () => {
    const values = Array.from({ length: 100 }, (_, index) => sample(`n${index}`, (index * 7_919) % (4 * PIECE)));
    await Promise.all(values.map(put));
    const got = await Promise.all([...values.map(get), ...values.map(put)]);
    for (const [index, value] of values.entries()) expect((got[index] as Buffer).equals(value.payload), `value ${index}`).toBe(true);
    expect(got.slice(100)).toEqual(values.map(() => true));
    expect(ledger).toMatchObject({ allocated: 100, balanced: true });
  });
});
