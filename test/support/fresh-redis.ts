import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { encodeHeader } from "../../services/shared/segments/format.ts";
import type { RedisStore, RedisStoreOptions } from "../../services/shared/segments/redis/store.ts";
import { type RedisServer, startRedis } from "./redis.ts";
import { Ledger, redisStore, type Sample } from "./segments.ts";

export const PIECE = 65_536;

/** For a file of tests: a ledger for each test, which must balance after it. */
export function freshLedger() {
  let ledger: Ledger;

  beforeEach(() => {
    ledger = new Ledger();
  });
  afterEach(() => expect(ledger.balanced).toBe(true));

  return {
    /** Of the test that runs. */
    get ledger(): Ledger {
      return ledger;
    },
    /** True if it came back exactly, null if it did not come back. */
    async get(store: RedisStore, { key, head, payload }: Sample): Promise<boolean | null> {
      const memory = await store.get(key, head, ledger.allocate);
      const same = memory && payload.equals(memory.bytes);
      memory?.release();
      return same;
    },
  };
}

/** The same, and stores that are closed before the ledger is looked at. */
export function freshStores() {
  const memory = freshLedger();
  const open: RedisStore[] = [];

  afterEach(async () => {
    await Promise.all(open.splice(0).map((store) => store.close()));
  });

  return {
    get ledger(): Ledger {
      return memory.ledger;
    },
    get: memory.get,
    openStore(url: string, options: Partial<RedisStoreOptions> = {}): RedisStore {
      open.push(redisStore(url, { pieceBytes: PIECE, ...options }));
      return open.at(-1)!;
    },
  };
}

/** The same, and one redis-server while they run, empty before each. */
export function freshRedis() {
  const stores = freshStores();
  let server: RedisServer;

  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());
  beforeEach(() => server.flush());

  return {
    get server(): RedisServer {
      return server;
    },
    get ledger(): Ledger {
      return stores.ledger;
    },
    get: stores.get,
    openStore: stores.openStore,
  };
}

export const put = (store: RedisStore, { key, head, payload }: Sample): Promise<boolean> => store.put(key, head, payload);
export const name = ({ key }: Sample, piece = 0): string => `test:{${key}}${piece === 0 ? "" : `:${piece}`}`;
/** The value under its first name, if it has one piece. */
export const stored = ({ key, head, payload }: Sample): Buffer => Buffer.concat([encodeHeader(key, head, payload), payload]);
