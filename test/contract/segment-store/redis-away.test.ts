import { pino } from "pino";
import { describe, expect, test, vi } from "vitest";
import type { RedisStore } from "../../../services/shared/segments/redis/store.ts";
import { freshRedis, name, PIECE, put } from "../../support/fresh-redis.ts";
import { LossyProxy } from "../../support/proxy.ts";
import { startRedis } from "../../support/redis.ts";
import { type Sample, sample } from "../../support/segments.ts";

const redis = freshRedis();
const { openStore, get } = redis;

describe("when Redis goes away", () => {
  const values = Array.from({ length: 100 }, (_, index) => sample(`n${index}`, 5 * PIECE + index));
  /** Values and small commands have separate connections: both are back. */
  const works = async (store: RedisStore) => {
    const [value] = values as [Sample];
    const answers = async () => [await put(store, value), await store.countPrefix([value.key])];
    await vi.waitFor(async () => expect(await answers()).toEqual([true, 1]), { timeout: 20_000 });
  };

  test("killed amid gets and puts: misses and refusals, nothing wrong, and it is found again when it is back", async () => {
    const store = openStore(redis.server.url);
    await Promise.all(values.slice(0, 50).map((value) => put(store, value)));
    const done = vi.fn();
    const all = values.map((value, index) => (index < 50 ? get(store, value) : put(store, value)).finally(done));
    await vi.waitFor(() => expect(done.mock.calls.length).toBeGreaterThan(5), { interval: 1, timeout: 20_000 });
    await redis.server.kill();
    const results = await Promise.all(all);
    expect(results.slice(0, 50).includes(false)).toBe(false);
    expect(store.stats().failures).toBeGreaterThan(0);

    expect(await store.countPrefix([values[0]!.key])).toBe(0);
    expect(await store.claim(values[0]!.key, "a", 1_000)).toBe(true);
    await store.unclaim(values[0]!.key, "a");
    expect(await get(store, values[0]!)).toBeNull();
    expect(await put(store, values[0]!)).toBe(false);

    await redis.server.restart();
    await works(store);
    expect(await get(store, values[1]!)).toBeNull();
    expect(await get(store, values[0]!)).toBe(true);
  });

  test("flushed amid gets: exact or missing", async () => {
    const store = openStore(redis.server.url);
    await Promise.all(values.map((value) => put(store, value)));
    const first = get(store, values[0]!);
    const all = values.map((value) => get(store, value));
    await first;
    await redis.server.flush();
    const results = await Promise.all(all);
    expect(results.includes(false)).toBe(false);
    expect(results.at(-1)).toBeNull();
    expect(store.stats()).toMatchObject({ damaged: 0, failures: 0 });
  });

  test("stopped without a word: every call ends, later ones at once, until it goes on", async () => {
    const store = openStore(redis.server.url, { timeoutMs: 500 });
    const [value] = values as [Sample];
    await Promise.all(values.map((each) => put(store, each)));
    expect(await store.claim(value.key, "a", 60_000)).toBe(true);
    const done = vi.fn();
    const amid = values.map((each) => get(store, each).finally(done));
    await vi.waitFor(() => expect(done.mock.calls.length).toBeGreaterThan(5), { interval: 1, timeout: 20_000 });
    await redis.server.pause();
    try {
      const all = [put(store, value), store.claim(value.key, "b", 1_000), store.countPrefix([value.key])];
      expect(await Promise.all(all)).toEqual([false, true, 0]);
      expect((await Promise.all(amid)).includes(false)).toBe(false);
      expect(await get(store, value)).toBeNull();
      const nextTurn = () => new Promise((resolve) => setImmediate(resolve, "later"));
      for (let i = 0; i < 20; i++) expect(await Promise.race([get(store, value), nextTurn()])).toBeNull();
    } finally {
      redis.server.resume();
    }
    await works(store);
    await vi.waitFor(async () => expect(await get(store, value)).toBe(true), { timeout: 20_000 }); // half a second is soon over here
  });

  test("slow: a long prefix is counted as far as one exchange may take, not as long as all of them would", async () => {
    await redis.server.client.mset(values.flatMap((value) => [name(value), "there"]));
    const store = openStore(redis.server.url, { timeoutMs: 20_000 });
    const keys = values.map(({ key }) => key);
    expect(await store.countPrefix(keys)).toBe(keys.length);
    let looks = 0;
    const now = vi.spyOn(performance, "now").mockImplementation(() => 8_000 * looks++); // at first, then before each of three exchanges
    const counted = await store.countPrefix(keys);
    now.mockRestore();
    expect(counted).toBe(16 + 32); // the second ends after the time of one
  });

  test("absent from the start: a worker runs all the same, and is told once", async () => {
    const lines: { msg: string; operation: string }[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    await redis.server.kill();
    const store = openStore(redis.server.url, { log });
    const results = await Promise.all(
      values
        .slice(0, 20)
        .flatMap((value) => [get(store, value), put(store, value), store.claim(value.key, "a", 1), store.countPrefix([value.key])]),
    );
    expect(new Set(results)).toEqual(new Set([null, false, true, 0]));
    const told = () => lines.map(({ operation }) => operation).sort();
    expect(told()).toEqual(["claim", "count", "get", "put"]);
    await redis.server.restart();
    await works(store);
    expect(await get(store, values[0]!)).toBe(true);
    expect(await store.claim(values[0]!.key, "a", 1)).toBe(true);
    expect(told()).toEqual(["claim", "claim", "count", "count", "get", "get", "put", "put"]);
    expect(store.stats()).toMatchObject({ failuresBy: { away: expect.any(Number) } });
  });

  test("a replica by now, under connections that stay open: the server that its name leads to is found", async () => {
    const [before, after] = [await startRedis(), await startRedis()];
    const proxy = await LossyProxy.start(before.port);
    const store = openStore(`redis://127.0.0.1:${proxy.port}`);
    await works(store);
    await before.client.replicaof("127.0.0.1", String(after.port));
    proxy.targetPort = after.port;
    const claimed = async () =>
      (await store.claim(values[0]!.key, "a", 60_000)) && (await after.client.exists(`${name(values[0]!)}:claim`));
    await vi.waitFor(async () => expect(await claimed()).toBe(1), { timeout: 20_000 });
    await works(store);
    expect(Object.keys(store.stats().failuresBy)).toEqual(["readonly"]);
    await store.close();
    await Promise.all([proxy.stop(), before.stop(), after.stop()]);
  });

  test("a closed store answers like an empty one", async () => {
    const store = openStore(redis.server.url);
    const waiting = values.map((value) => get(store, value));
    await store.close();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([null]));
    expect(await put(store, values[0]!)).toBe(false);
    expect(await store.claim(values[0]!.key, "a", 1)).toBe(true);
    expect(await store.countPrefix([values[0]!.key])).toBe(0);
  });
});
