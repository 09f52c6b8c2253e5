import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { freshRedis, PIECE, put } from "../../support/fresh-redis.ts";
import { startRedis } from "../../support/redis.ts";
import { redisStore, sample } from "../../support/segments.ts";

const redis = freshRedis();
const { openStore, get } = redis;

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

  test("no memory left, or a replica: each kind of work that it refuses is told once, whatever it does between", async () => {
    for (const args of [
      ["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"],
      ["--replicaof", "127.0.0.1 1"],
    ]) {
      const other = await startRedis(args);
      const told: string[] = [];
      const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line).operation) });
      const store = redisStore(other.url, { log });
      for (let i = 0; i < 3; i++) {
        expect(await store.countPrefix([value.key])).toBe(0);
        expect([await put(store, value), await store.claim(value.key, "a", 1_000)]).toEqual([false, true]);
        await store.unclaim(value.key, "a");
      }
      expect(told.toSorted(), args[0]).toEqual(["claim", "put"]);
      await store.close();
      await other.stop();
    }
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
