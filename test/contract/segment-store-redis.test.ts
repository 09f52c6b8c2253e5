import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { encodeHeader, HEADER_BYTES } from "../../services/shared/segments/format.ts";
import type { RedisStore, RedisStoreOptions } from "../../services/shared/segments/redis-store.ts";
import { PIECE_BYTES_MIN } from "../../services/shared/segments/redis-values.ts";
import { LossyProxy } from "../support/proxy.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { Ledger, redisStore, type Sample, sample } from "../support/segments.ts";

const PIECE = 65_536;

let server: RedisServer;
let ledger: Ledger;
const open: RedisStore[] = [];
const openStore = (url: string, options: Partial<RedisStoreOptions> = {}) => {
  open.push(redisStore(url, { pieceBytes: PIECE, ...options }));
  return open.at(-1)!;
};

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
beforeEach(async () => {
  ledger = new Ledger();
  await server.flush();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()));
  expect(ledger.balanced).toBe(true);
});

const put = (store: RedisStore, { key, head, payload }: Sample) => store.put(key, head, payload);
/** True if it came back exactly, null if it did not come back. */
async function get(store: RedisStore, { key, head, payload }: Sample): Promise<boolean | null> {
  const memory = await store.get(key, head, ledger.allocate);
  const same = memory && payload.equals(memory.bytes);
  memory?.release();
  return same;
}
const name = ({ key }: Sample, piece = 0) => `test:{${key}}${piece === 0 ? "" : `:${piece}`}`;
/** What lies under its first name where it has one piece. */
const stored = ({ key, head, payload }: Sample) => Buffer.concat([encodeHeader(key, head, payload), payload]);
const bulk = (bytes: Uint8Array) => Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n")]);

describe("what Redis may do to a value", () => {
  test("losing any one part of it is a plain miss", async () => {
    const store = openStore(server.url);
    const value = sample("a", 3 * PIECE + 1);
    for (const part of [0, 1, 3]) {
      await put(store, value);
      expect(await server.client.del(name(value, part))).toBe(1);
      expect(await get(store, value), `part ${part}`).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 3, damaged: 0, failures: 0 });
  });

  test.each([
    ["first piece", 0, "size"],
    ["middle piece", 1, "size"],
    ["last piece", 3, "size"],
  ] as const)("a shorter, longer or empty %s is a counted miss", async (_, part, reason) => {
    const store = openStore(server.url);
    const value = sample("a", 3 * PIECE + 10);
    await put(store, value);
    const whole = await server.client.getBuffer(name(value, part));
    const changed = [whole!.subarray(0, -1), Buffer.concat([whole!, Buffer.of(0)]), Buffer.alloc(0)];
    for (const bytes of changed) {
      await server.client.set(name(value, part), bytes);
      expect(await get(store, value)).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 0, damagedBy: { [reason]: 3 }, failures: 0 });
  });

  test("of several objections the first decides", async () => {
    const store = openStore(server.url, { connections: 1 }); // so that pieces come in order
    const value = sample("a", 4 * PIECE);
    await put(store, value);
    await server.client.append(name(value, 1), "x");
    await server.client.del(name(value, 2));
    expect(await get(store, value)).toBeNull();
    expect(store.stats()).toMatchObject({ misses: 0, damagedBy: { size: 1 } });
  });

  test("a value of one piece cut at any byte is a counted miss, and nothing is allocated for it", async () => {
    const store = openStore(server.url);
    const value = sample("a", 100);
    await put(store, value);
    const whole = await server.client.getBuffer(name(value));
    expect(whole).toEqual(stored(value));
    for (let bytes = 0; bytes < whole!.length; bytes++) {
      await server.client.set(name(value), whole!.subarray(0, bytes));
      expect(await get(store, value), `${bytes} bytes`).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 0, damagedBy: { size: whole!.length }, failures: 0 });
    expect(ledger.allocated).toBe(0);
  });

  test("a header in front of too few bytes, too many, or another's", async () => {
    const store = openStore(server.url);
    const [a, longer, other] = [sample("a", 5_000), sample("a", 9_000), sample("b", 5_000)];
    const header = (value: Sample) => stored(value).subarray(0, HEADER_BYTES);
    for (const [front, payload] of [
      [header(longer), a.payload], // a second piece would have to follow
      [header(longer), a.payload.subarray(0, PIECE_BYTES_MIN - 1)],
      [header(a), longer.payload],
      [header(a), other.payload],
      [header(a).subarray(1), a.payload],
    ] as const) {
      await server.client.set(name(a), Buffer.concat([front, payload]));
      expect(await get(store, a)).toBeNull();
    }
    expect(store.stats()).toMatchObject({ misses: 1, damagedBy: { size: 2, checksum: 1, magic: 1 }, failures: 0 });
    expect(ledger.allocated).toBe(2);
  });

  test("a first piece so short that the others would be countless is refused", async () => {
    const store = openStore(server.url);
    const value = sample("a", 3 * PIECE);
    await put(store, value);
    const first = await server.client.getBuffer(name(value));
    await server.client.set(name(value), first!.subarray(0, HEADER_BYTES + 1));
    expect(await get(store, value)).toBeNull();
    expect(store.stats().damagedBy).toEqual({ size: 1 });
    expect(ledger.allocated).toBe(0);
  });

  test("swapped values, pieces of another value, and pieces in the wrong order are counted misses", async () => {
    const store = openStore(server.url);
    const [a, b] = [sample("a", 3 * PIECE), sample("b", 3 * PIECE)];
    await Promise.all([put(store, a), put(store, b)]);
    await server.client.copy(name(b), name(a), "REPLACE");
    expect(await get(store, a)).toBeNull();
    await put(store, a);
    await server.client.copy(name(b, 1), name(a, 1), "REPLACE");
    expect(await get(store, a)).toBeNull();
    await put(store, a);
    await server.client.copy(name(a, 1), name(a, 2), "REPLACE");
    expect(await get(store, a)).toBeNull();
    expect(store.stats().damagedBy).toEqual({ key: 1, checksum: 2 });
  });

  test("a value of another type is a failure, and only of its own", async () => {
    const store = openStore(server.url);
    const [a, b] = [sample("a", 10), sample("b", 10)];
    await Promise.all([put(store, a), put(store, b)]);
    await server.client.del(name(a));
    await server.client.lpush(name(a), "x");
    expect(await Promise.all([get(store, a), get(store, b)])).toEqual([null, true]);
    expect(store.stats().failuresBy).toEqual({ refused: 1 });
  });

  test("a piece that fails while others are on their way: memory is given back only when nothing is written to it any more", async () => {
    const store = openStore(server.url);
    const [a, b] = [sample("a", 100 * PIECE), sample("b", 10)];
    await Promise.all([put(store, a), put(store, b)]);
    await server.client.del(name(a, 1));
    await server.client.lpush(name(a, 1), "x");
    expect(await get(store, a)).toBeNull();
    expect(await get(store, b)).toBe(true); // behind whatever is left of the first
    expect(ledger).toMatchObject({ allocated: 2, balanced: true });
    expect(store.stats().failuresBy).toEqual({ refused: 1 });
  });

  test("stores with pieces of different sizes read each other", async () => {
    const [small, large] = [openStore(server.url, { pieceBytes: 4_096 }), openStore(server.url, { pieceBytes: 1_048_576 })];
    const [a, b] = [sample("a", 300_001), sample("b", 2_500_000)];
    await Promise.all([put(small, a), put(large, b)]);
    expect(await Promise.all([get(large, a), get(small, b)])).toEqual([true, true]);
    await large.drop(a.key);
    await small.drop(b.key);
    expect(await server.client.dbsize()).toBe(0);
  });

  test("several that write one key at once, in other pieces or with other bytes: whoever reads gets what one of them wrote, or nothing", async () => {
    const value = sample("a", 50_001);
    const other = { ...value, payload: Buffer.from(value.payload.map((byte) => byte ^ 1)) };
    const [fine, coarse, reader] = [4_096, 8_192, PIECE].map((pieceBytes) => openStore(server.url, { pieceBytes }));
    const read = async () => {
      const memory = await reader!.get(value.key, value.head, ledger.allocate);
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

  test("dropping takes a bounded number of names, whatever the value says of itself", async () => {
    const store = openStore(server.url, { pieceBytes: PIECE_BYTES_MIN });
    const value = sample("a", 3 * PIECE_BYTES_MIN);
    const changes: ((first: Buffer) => Buffer)[] = [
      (first) => first.subarray(0, HEADER_BYTES + 1),
      (first) => first.subarray(0, HEADER_BYTES),
      (first) => first.fill(0xff, 120, 128), // payload bytes
    ];
    for (const change of changes) {
      await put(store, value);
      await server.client.set(name(value), change((await server.client.getBuffer(name(value)))!));
      await store.drop(value.key);
      expect(await server.client.dbsize()).toBe(0);
    }
    expect(store.stats().failures).toBe(0);
  });

  test.each([
    [10, 16],
    [262_144, 4],
    [1_048_576, 2],
  ])("after a value of %i bytes went over a connection, %i are on their way there, however many wait", async (bytes, onTheirWay) => {
    const proxy = await LossyProxy.start(server.port);
    const store = openStore(`redis://127.0.0.1:${proxy.port}`, { connections: 1, pieceBytes: 1_048_576 });
    const value = sample("a", bytes);
    const absent = Array.from({ length: 40 }, (_, index) => sample(`n${index}`, 10));
    const asked = async () => Number(/cmdstat_getex:calls=(\d+)/.exec(await server.client.info("commandstats"))?.[1] ?? 0);
    for (const move of [put, get]) {
      const moved = async () => expect([await move(store, value), await store.countPrefix([value.key])]).toEqual([true, 1]);
      await vi.waitFor(moved, { timeout: 20_000 });
      const before = await asked();
      const swallowed = proxy.swallow();
      const all = absent.map((each) => get(store, each));
      await swallowed;
      proxy.cut();
      expect(new Set(await Promise.all(all))).toEqual(new Set([null]));
      expect((await asked()) - before, move.name).toBe(onTheirWay);
    }
    await proxy.stop();
  });

  test.each([
    ["segment", 60_000],
    ["boundary", 40_000],
  ] as const)("reading renews the life of a %s, counting does not", async (kind, ttlMs) => {
    const store = openStore(server.url, { ttlMs: { segment: 60_000, boundary: 40_000 } });
    const value = sample("a", 2 * PIECE, kind);
    await put(store, value);
    const parts = [name(value), name(value, 1)];
    for (const part of parts) await server.client.pexpire(part, 20_000);
    expect(await store.countPrefix([value.key])).toBe(1);
    for (const part of parts) expect(await server.client.pttl(part)).toBeLessThanOrEqual(20_000);
    expect(await get(store, value)).toBe(true);
    for (const part of parts) {
      const leftMs = await server.client.pttl(part);
      expect(leftMs).toBeGreaterThan(ttlMs - 15_000);
      expect(leftMs).toBeLessThanOrEqual(ttlMs);
    }
  });
});

describe("when Redis goes away", () => {
  const values = Array.from({ length: 100 }, (_, index) => sample(`n${index}`, 5 * PIECE + index));
  /** Values and small commands have separate connections: both are back. */
  const works = async (store: RedisStore) => {
    const [value] = values as [Sample];
    const answers = async () => [await put(store, value), await store.countPrefix([value.key])];
    await vi.waitFor(async () => expect(await answers()).toEqual([true, 1]), { timeout: 20_000 });
  };

  test("killed amid gets and puts: misses and refusals, nothing wrong, and it is found again when it is back", async () => {
    const store = openStore(server.url);
    await Promise.all(values.slice(0, 50).map((value) => put(store, value)));
    const done = vi.fn();
    const all = values.map((value, index) => (index < 50 ? get(store, value) : put(store, value)).finally(done));
    await vi.waitFor(() => expect(done.mock.calls.length).toBeGreaterThan(5), { interval: 1 });
    await server.kill();
    const results = await Promise.all(all);
    expect(results.slice(0, 50).includes(false)).toBe(false);
    expect(store.stats().failures).toBeGreaterThan(0);

    expect(await store.countPrefix([values[0]!.key])).toBe(0);
    expect(await store.claim(values[0]!.key, "a", 1_000)).toBe(true);
    await store.unclaim(values[0]!.key, "a");
    await store.drop(values[0]!.key);
    expect(await get(store, values[0]!)).toBeNull();
    expect(await put(store, values[0]!)).toBe(false);

    await server.restart();
    await works(store);
    expect(await get(store, values[1]!)).toBeNull();
    expect(await get(store, values[0]!)).toBe(true);
  });

  test("flushed amid gets: exact or missing", async () => {
    const store = openStore(server.url);
    await Promise.all(values.map((value) => put(store, value)));
    const first = get(store, values[0]!);
    const all = values.map((value) => get(store, value));
    await first;
    await server.flush();
    const results = await Promise.all(all);
    expect(results.includes(false)).toBe(false);
    expect(results.at(-1)).toBeNull();
    expect(store.stats()).toMatchObject({ damaged: 0, failures: 0 });
  });

  test("stopped without a word: every call ends within its deadline, later ones at once, until it goes on", async () => {
    const store = openStore(server.url, { timeoutMs: 500 });
    const [value] = values as [Sample];
    await Promise.all(values.map((each) => put(store, each)));
    expect(await store.claim(value.key, "a", 60_000)).toBe(true);
    const done = vi.fn();
    const amid = values.map((each) => get(store, each).finally(done));
    await vi.waitFor(() => expect(done.mock.calls.length).toBeGreaterThan(5), { interval: 1 });
    await server.pause();
    try {
      const began = performance.now();
      const all = [put(store, value), store.claim(value.key, "b", 1_000), store.countPrefix([value.key])];
      expect(await Promise.all(all)).toEqual([false, true, 0]);
      expect((await Promise.all(amid)).includes(false)).toBe(false);
      expect(await get(store, value)).toBeNull();
      expect(performance.now() - began).toBeLessThan(2_500);
      const again = performance.now();
      for (let i = 0; i < 20; i++) expect(await get(store, value)).toBeNull();
      expect(performance.now() - again).toBeLessThan(250);
    } finally {
      server.resume();
    }
    await works(store);
    expect(await get(store, value)).toBe(true);
  });

  test("slow: a long prefix is counted as far as one exchange may take, not as long as all of them would", async () => {
    await server.client.mset(values.flatMap((value) => [name(value), "there"]));
    const proxy = await LossyProxy.start(server.port);
    const store = openStore(`redis://127.0.0.1:${proxy.port}`, { timeoutMs: 1_000 });
    const keys = values.map(({ key }) => key);
    expect(await store.countPrefix(keys)).toBe(keys.length);
    proxy.delayMs = 600;
    const began = performance.now();
    const counted = await store.countPrefix(keys); // three exchanges, and the second ends after the time of one
    expect(performance.now() - began).toBeLessThan(2_000);
    expect(counted).toBe(16 + 32);
    await proxy.stop();
  });

  test("absent from the start: a worker runs all the same, and is told once", async () => {
    const lines: { msg: string; operation: string }[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    await server.kill();
    const store = openStore(server.url, { log });
    const results = await Promise.all(
      values.slice(0, 20).flatMap((value) => [get(store, value), put(store, value), store.claim(value.key, "a", 1)]),
    );
    expect(new Set(results)).toEqual(new Set([null, false, true]));
    expect(lines.map(({ operation }) => operation).sort()).toEqual(["control", "get", "put"]);
    await server.restart();
    await works(store);
    expect(await get(store, values[0]!)).toBe(true);
    expect(lines).toHaveLength(6);
    expect(store.stats()).toMatchObject({ failuresBy: { away: expect.any(Number) } });
  });

  test("a closed store answers like an empty one", async () => {
    const store = openStore(server.url);
    const waiting = values.map((value) => get(store, value));
    await store.close();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([null]));
    expect(await put(store, values[0]!)).toBe(false);
    expect(await store.claim(values[0]!.key, "a", 1)).toBe(true);
    expect(await store.countPrefix([values[0]!.key])).toBe(0);
  });
});

describe("what Redis refuses", () => {
  const value = sample("a", 2 * PIECE);
  async function refusal(args: readonly string[], url: (port: number) => string = (port) => `redis://127.0.0.1:${port}`) {
    const other = await startRedis(args);
    const store = redisStore(url(other.port), { pieceBytes: PIECE });
    try {
      const answers = [await put(store, value), await get(store, value), await store.claim(value.key, "a", 1_000)];
      return { answers, failuresBy: store.stats().failuresBy };
    } finally {
      await store.close();
      await other.stop();
    }
  }

  test("no password, or a wrong one", async () => {
    const away = [false, null, true];
    expect(await refusal(["--requirepass", "secret"])).toMatchObject({ answers: away, failuresBy: { auth: expect.any(Number) } });
    const wrong = await refusal(["--requirepass", "secret"], (port) => `redis://:other@127.0.0.1:${port}`);
    expect(wrong).toMatchObject({ answers: away, failuresBy: { auth: expect.any(Number) } });
  });

  test("no memory left", async () => {
    const full = await refusal(["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"]);
    expect(full).toMatchObject({ answers: [false, null, true], failuresBy: { full: 2 } });
  });

  test("a replica", async () => {
    const replica = await refusal(["--replicaof", "127.0.0.1 1"]);
    expect(replica).toMatchObject({ answers: [false, null, true], failuresBy: { readonly: 3 } });
  });
});

describe("where Redis is", () => {
  test("by password, database and socket", async () => {
    const secret = "a b/c@d";
    const other = await startRedis(["--requirepass", secret]);
    const value = sample("a", 2 * PIECE);
    const login = `:${encodeURIComponent(secret)}`;
    try {
      for (const url of [
        `redis://${login}@127.0.0.1:${other.port}`,
        `redis://default${login}@localhost:${other.port}/1`,
        `unix://${login}@localhost${other.socketPath}?db=2`,
      ]) {
        const store = openStore(url);
        const answers = [
          await store.countPrefix([value.key]),
          await put(store, value),
          await get(store, value),
          await store.countPrefix([value.key]),
        ];
        expect(answers, url).toEqual([0, true, true, 1]);
        expect(store.stats().failures).toBe(0);
      }
    } finally {
      await other.stop();
    }
  });

  test.each(["http://x", "redis", "redis://host/x", ""])("%j is not an address, and the message does not repeat it", (url) => {
    expect(() => redisStore(url)).toThrow("LONGSHORE_REDIS_URL");
  });
});

describe("a server that misbehaves", () => {
  /** Says PONG to the greeting, and `reply` to each read; to anything else, nothing. */
  async function impostor(reply: (socket: Socket) => void): Promise<Server> {
    const fake = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (data) => {
        if (data.includes("PING")) socket.write("+PONG\r\n");
        for (const _ of data.toString("latin1").matchAll(/GETEX/g)) reply(socket);
      });
    });
    await new Promise<void>((resolve) => fake.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  test.each([
    ["is still loading", "loading", (socket: Socket) => socket.write("-LOADING Redis is loading\r\n")],
    ["stops in the middle of a value", "deadline", (socket: Socket) => socket.write("$136\r\nLSKV")],
    ["sends what was not asked for", "protocol", (socket: Socket) => socket.write("*2\r\n$1\r\na\r\n$1\r\nb\r\n")],
    ["sends more than any piece", "protocol", (socket: Socket) => socket.write("$2000000000\r\n")],
    ["answers twice", "protocol", (socket: Socket) => socket.write("$-1\r\n$-1\r\n")],
  ] as const)("%s: a miss", async (_, reason, reply) => {
    const fake = await impostor(reply);
    const { port } = fake.address() as { port: number };
    const store = redisStore(`redis://127.0.0.1:${port}`, { timeoutMs: 300, connections: 1 });
    await get(store, sample("a", 10));
    await get(store, sample("b", 10));
    expect(Object.keys(store.stats().failuresBy)).toContain(reason);
    expect(store.stats().hits).toBe(0);
    await store.close();
    await new Promise((resolve) => fake.close(resolve));
  });

  test("a piece it refuses: no first piece follows, and the put ends only when the other pieces have", async () => {
    let [asked, ended] = ["", false];
    const fake = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (data) => {
        if (data.includes("PING")) return void socket.write("+PONG\r\n");
        asked += data.toString("latin1");
        if (!/}:1\r\n.*}:2\r\n.*\r\n60000\r\n$/s.test(asked)) return; // both whole
        socket.write("-OOM no\r\n");
        setTimeout(() => {
          ended = true;
          socket.write("+OK\r\n");
        }, 50);
      });
    });
    await new Promise<void>((resolve) => fake.listen(0, "127.0.0.1", resolve));
    const { port } = fake.address() as { port: number };
    const store = redisStore(`redis://127.0.0.1:${port}`, { connections: 1, pieceBytes: PIECE_BYTES_MIN });
    expect(await put(store, sample("a", 2 * PIECE_BYTES_MIN + 1))).toBe(false);
    expect(ended).toBe(true);
    expect(store.stats().failuresBy).toEqual({ full: 1 });
    expect(asked.split("\r\nSET\r\n")).toHaveLength(1 + 2);
    await store.close();
    await new Promise((resolve) => fake.close(resolve));
  });

  test("a connection that ends anywhere in a value: a miss, and its memory comes back", async () => {
    const value = sample("a", 20);
    const wire = bulk(stored(value));
    let length = 0;
    const fake = await impostor((socket) => socket.end(wire.subarray(0, length)));
    const { port } = fake.address() as { port: number };
    for (; length < wire.length; length++) {
      const store = redisStore(`redis://127.0.0.1:${port}`, { connections: 1 });
      expect(await get(store, value), `after ${length} bytes`).toBeNull();
      expect(store.stats().failuresBy).toEqual({ away: 1 });
      await store.close();
    }
    expect(ledger.allocated).toBe(20 + 2); // once there was a byte of payload
    await new Promise((resolve) => fake.close(resolve));
  });

  test("an answer that is no piece is a miss, also where the memory for it happens to hold the right bytes", async () => {
    const value = sample("a", PIECE_BYTES_MIN + 1);
    const answers = [bulk(stored(value).subarray(0, -1)), Buffer.from("+OK\r\n"), Buffer.from(":1\r\n")];
    const fake = await impostor((socket) => socket.write(answers.shift()!));
    const store = redisStore(`redis://127.0.0.1:${(fake.address() as { port: number }).port}`, { connections: 1 });
    const allocate = (size: number) => {
      const memory = ledger.allocate(size);
      memory.bytes.set(value.payload);
      return memory;
    };
    expect(await store.get(value.key, value.head, allocate)).toBeNull(); // its second piece
    expect(await store.get(value.key, value.head, allocate)).toBeNull(); // its first
    expect(ledger.allocated).toBe(1);
    expect(store.stats()).toMatchObject({ misses: 2, damaged: 0, failures: 0 });
    await store.close();
    await new Promise((resolve) => fake.close(resolve));
  });

  test("a value that comes byte by byte is that value", async () => {
    const value = sample("a", 300);
    const fake = await impostor(async (socket) => {
      socket.setNoDelay(true);
      for (const byte of bulk(stored(value))) {
        socket.write(Uint8Array.of(byte));
        await new Promise(setImmediate);
      }
    });
    const store = redisStore(`redis://127.0.0.1:${(fake.address() as { port: number }).port}`, { connections: 1 });
    expect(await get(store, value)).toBe(true);
    await store.close();
    await new Promise((resolve) => fake.close(resolve));
  });

  test("what makes progress may take longer than the deadline of one exchange, what makes none after a rest may not", async () => {
    const timeoutMs = 800;
    const value = sample("a", 10);
    const asked = new Set<Socket>();
    let turn = Promise.resolve();
    let silent = false;
    const fake = await impostor((socket) => {
      asked.add(socket);
      if (!silent) turn = turn.then(() => sleep(60)).then(() => void socket.write(bulk(stored(value))));
    });
    const store = redisStore(`redis://127.0.0.1:${(fake.address() as { port: number }).port}`, { timeoutMs, connections: 1 });
    const began = performance.now();
    const all = await Promise.all(Array.from({ length: 16 }, () => get(store, value)));
    expect(new Set(all)).toEqual(new Set([true]));
    expect(performance.now() - began).toBeGreaterThan(timeoutMs);
    await sleep(1.25 * timeoutMs);
    expect(await get(store, value)).toBe(true);
    await sleep(1.25 * timeoutMs);
    silent = true;
    expect(await get(store, value)).toBeNull();
    expect(asked.size).toBe(1); // nobody is sent away for having nothing to ask
    expect(store.stats().failuresBy).toEqual({ deadline: 1 });
    await store.close();
    await new Promise((resolve) => fake.close(resolve));
  });

  test("a connection that breaks again and again is soon back each time, once it was let in", async () => {
    let greeted = 0;
    const fake = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (data) => {
        if (!data.includes("PING")) return;
        greeted++;
        socket.end("+PONG\r\n");
      });
    });
    await new Promise<void>((resolve) => fake.listen(0, "127.0.0.1", resolve));
    const store = redisStore(`redis://127.0.0.1:${(fake.address() as { port: number }).port}`, { connections: 1 });
    // Ten pauses of at most 50 ms each; were they to double as where nobody answers, 5 s at least.
    await vi.waitFor(() => expect(greeted).toBeGreaterThan(10), { timeout: 4_000 });
    await store.close();
    await new Promise((resolve) => fake.close(resolve));
  });

  test("a connection has at most sixteen values on their way, whatever waits", async () => {
    const asked: number[] = [];
    const fake = createServer((socket) => {
      const index = asked.push(0) - 1;
      socket.on("error", () => {});
      socket.on("data", (data) => {
        if (data.includes("PING")) socket.write("+PONG\r\n");
        asked[index]! += data.toString("latin1").split("GETEX").length - 1;
      });
    });
    await new Promise<void>((resolve) => fake.listen(0, "127.0.0.1", resolve));
    const store = redisStore(`redis://127.0.0.1:${(fake.address() as { port: number }).port}`, { timeoutMs: 500, connections: 1 });
    const values = Array.from({ length: 40 }, (_, index) => sample(`n${index}`, 10));
    expect(new Set(await Promise.all(values.map((value) => get(store, value))))).toEqual(new Set([null]));
    expect(asked[0]).toBe(16);
    expect(store.stats().failures).toBe(40);
    await store.close();
    await new Promise((resolve) => fake.close(resolve));
  });
});
