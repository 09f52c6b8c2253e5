import type { Socket } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { PIECE_BYTES_MIN } from "../../../services/shared/segments/redis/values.ts";
import { freshLedger, put, stored } from "../../support/fresh-redis.ts";
import { impostor } from "../../support/impostor.ts";
import { redisStore, sample } from "../../support/segments.ts";

const books = freshLedger();
const { get } = books;
const bulk = (bytes: Uint8Array) => Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n")]);

/** From here on time passes for a store only as a test lets it: nobody is late because this process stood still. */
const stopClock = () => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
afterEach(() => void vi.useRealTimers());
const turn = () => new Promise(setImmediate);

describe("a server that misbehaves", () => {
  test.each([
    ["is still loading", "loading", (socket: Socket) => socket.write("-LOADING Redis is loading\r\n")],
    ["stops in the middle of a value", "deadline", (socket: Socket) => socket.write("$136\r\nLSKV")],
    ["sends what was not asked for", "protocol", (socket: Socket) => socket.write("*2\r\n$1\r\na\r\n$1\r\nb\r\n")],
    ["sends more than any piece", "protocol", (socket: Socket) => socket.write("$2000000000\r\n")],
    ["answers twice", "protocol", (socket: Socket) => socket.write("$-1\r\n$-1\r\n")],
  ] as const)("%s: a miss", async (_, reason, reply) => {
    const fake = await impostor(forReads(reply));
    const store = redisStore(fake.url, { timeoutMs: reason === "deadline" ? 300 : 20_000, connections: 1 });
    await get(store, sample("a", 10));
    await get(store, sample("b", 10));
    expect(Object.keys(store.stats().failuresBy)).toContain(reason);
    expect(store.stats().hits).toBe(0);
    await store.close();
    await fake.stop();
  });

  test("a piece it refuses: no first piece follows, and the put ends only when the other pieces have", async () => {
    let [asked, ended] = ["", false];
    const fake = await impostor((socket, data) => {
      asked += data.toString("latin1");
      if (!/}:1\r\n.*}:2\r\n.*\r\n60000\r\n$/s.test(asked)) return; // both whole
      socket.write("-OOM no\r\n");
      setTimeout(() => {
        ended = true;
        socket.write("+OK\r\n");
      }, 50);
    });
    const store = redisStore(fake.url, { connections: 1, pieceBytes: PIECE_BYTES_MIN });
    expect(await put(store, sample("a", 2 * PIECE_BYTES_MIN + 1))).toBe(false);
    expect(ended).toBe(true);
    expect(store.stats().failuresBy).toEqual({ full: 1 });
    expect(asked.split("\r\nSET\r\n")).toHaveLength(1 + 2);
    await store.close();
    await fake.stop();
  });

  test("a connection that ends anywhere in a value: a miss, and its memory comes back", async () => {
    const value = sample("a", 20);
    const wire = bulk(stored(value));
    let length = 0;
    const fake = await impostor(forReads((socket) => socket.end(wire.subarray(0, length))));
    for (; length < wire.length; length++) {
      const store = redisStore(fake.url, { connections: 1 });
      expect(await get(store, value), `after ${length} bytes`).toBeNull();
      expect(store.stats().failuresBy).toEqual({ away: 1 });
      await store.close();
    }
    expect(books.ledger.allocated).toBe(20 + 2); // once there was a byte of payload
    await fake.stop();
  });

  test("an answer that is no piece is a miss, also where the memory for it happens to hold the right bytes", async () => {
    const value = sample("a", PIECE_BYTES_MIN + 1);
    const answers = [bulk(stored(value).subarray(0, -1)), Buffer.from("+OK\r\n"), Buffer.from("$-1\r\n")];
    const fake = await impostor(forReads((socket) => socket.write(answers.shift()!)));
    const store = redisStore(fake.url, { connections: 1 });
    const allocate = (size: number) => {
      const memory = books.ledger.allocate(size);
      memory.bytes.set(value.payload);
      return memory;
    };
    expect(await store.get(value.key, value.head, allocate)).toBeNull(); // its second piece
    expect(await store.get(value.key, value.head, allocate)).toBeNull(); // its first
    expect(books.ledger.allocated).toBe(1);
    expect(store.stats()).toMatchObject({ misses: 2, damaged: 0, failures: 0 });
    await store.close();
    await fake.stop();
  });

  test("a value that comes byte by byte is that value", async () => {
    const value = sample("a", 300);
    const fake = await impostor(
      forReads(async (socket) => {
        socket.setNoDelay(true);
        for (const byte of bulk(stored(value))) {
          socket.write(Uint8Array.of(byte));
          await new Promise(setImmediate);
        }
      }),
    );
    const store = redisStore(fake.url, { connections: 1 });
    expect(await get(store, value)).toBe(true);
    await store.close();
    await fake.stop();
  });

  test("what makes progress may take longer than the deadline of one exchange, what makes none after a rest may not", async () => {
    const timeoutMs = 800;
    const value = sample("a", 10);
    const asked: Socket[] = [];
    let answered = 0;
    const fake = await impostor(forReads((socket) => asked.push(socket)));
    stopClock();
    const store = redisStore(fake.url, { timeoutMs, connections: 1 });
    const ask = () => get(store, value).finally(() => answered++);
    const answerAfter = async (ms: number) => {
      while (asked.length === answered) await turn();
      vi.advanceTimersByTime(ms);
      asked[answered]!.write(bulk(stored(value)));
      for (const before = answered; answered === before; ) await turn();
    };
    const all = Array.from({ length: 16 }, ask);
    while (answered < all.length) await answerAfter(0.9 * timeoutMs);
    expect(new Set(await Promise.all(all))).toEqual(new Set([true]));
    vi.advanceTimersByTime(1.25 * timeoutMs);
    const rested = ask();
    await answerAfter(0);
    expect(await rested).toBe(true);
    vi.advanceTimersByTime(1.25 * timeoutMs);
    const silent = ask();
    while (asked.length === answered) await turn();
    vi.advanceTimersByTime(timeoutMs);
    expect(await silent).toBeNull();
    expect(new Set(asked).size).toBe(1); // nobody is sent away for having nothing to ask
    expect(store.stats().failuresBy).toEqual({ deadline: 1 });
    await store.close();
    await fake.stop();
  });

  test("a connection that breaks again and again is soon back each time, once it was let in", async () => {
    let greeted = 0;
    const fake = await impostor((socket, data) => {
      if (!data.includes("PING")) return;
      greeted++;
      socket.end();
    });
    stopClock();
    const store = redisStore(fake.url, { connections: 1 });
    let passedMs = 0;
    for (; greeted <= 10; passedMs++) {
      vi.advanceTimersByTime(1);
      await turn();
    }
    // Ten pauses of at most 50 ms each, and the turns in which a connection is made; were they to double as where nobody answers, 5 s at least.
    expect(passedMs).toBeLessThan(4_000);
    await store.close();
    await fake.stop();
  });

  test("a connection has at most sixteen values on their way, whatever waits", async () => {
    const timeoutMs = 500;
    const asked = new Map<Socket, number>();
    const fake = await impostor((socket, data) => void asked.set(socket, (asked.get(socket) ?? 0) + readsIn(data)));
    const most = () => Math.max(0, ...asked.values());
    stopClock();
    const store = redisStore(fake.url, { timeoutMs, connections: 1 });
    const values = Array.from({ length: 40 }, (_, index) => sample(`n${index}`, 10));
    const all = Promise.all(values.map((value) => get(store, value)));
    while (most() < 16) await turn();
    vi.advanceTimersByTime(timeoutMs);
    expect(new Set(await all)).toEqual(new Set([null]));
    expect(most()).toBe(16);
    expect(store.stats().failures).toBe(40);
    await store.close();
    await fake.stop();
  });
});

/** Calls `reply` for each read that is asked for. */
const forReads =
  (reply: (socket: Socket) => void) =>
  (socket: Socket, data: Buffer): void => {
    for (let left = readsIn(data); left > 0; left--) reply(socket);
  };

const readsIn = (data: Buffer): number => data.toString("latin1").split("GETEX").length - 1;
