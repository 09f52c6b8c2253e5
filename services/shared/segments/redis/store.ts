import type { Redis } from "ioredis";
import type { Clock } from "../../runtime/clock.ts";
import { refusal } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import type { Allocate, Memory } from "../../runtime/memory.ts";
import type { Random } from "../../runtime/random.ts";
import type { CountedStore, SegmentKey, StoreStats, ValueHead } from "../contract.ts";
import { encodeHeader } from "../format.ts";
import { Gate } from "../gate.ts";
import { type Sums, zlibSums } from "../sums.ts";
import { type Operation, Tally } from "../tally.ts";
import { RedisBulk } from "./bulk.ts";
import { RedisControl } from "./control.ts";
import { RedisFailure } from "./failure.ts";
import { parseRedisUrl } from "./target.ts";
import { type PieceName, readValue, writeValue } from "./values.ts";

export interface RedisStoreOptions {
  /** See parseRedisUrl. */
  readonly url: string;
  /** Begins every key; without braces. */
  readonly prefix: string;
  /** Connections that move values, besides one for everything else. */
  readonly connections: number;
  /** 4096 to 1048576. Stores may differ in it. */
  readonly pieceBytes: number;
  /** Bounds every exchange with Redis. A value of n pieces that makes progress may take longer, one that makes none cannot. */
  readonly timeoutMs: number;
  /** How long an unused value is kept. */
  readonly ttlMs: Readonly<Record<ValueHead["kind"], number>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** In place of zlib's. */
  readonly sums?: Sums | null;
}

/** Values that wait for others to be moved: two prompts of a million tokens. */
const WAITING_MAX = 4_096;
/** Keys asked for together: few at first, since a cold prompt has none, then more. */
const COUNT_BATCH_FIRST = 16;
const COUNT_BATCH_MAX = 512;

/** Sets the claim unless another owner holds it. KEYS: claim. ARGV: owner, ms. */
const CLAIM = `local owner = redis.call("GET", KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1`;

/** Deletes the claim if it is the owner's. KEYS: claim. ARGV: owner. */
const UNCLAIM = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`;

/** Segments in Redis or Valkey, one server. Whatever happens there is a miss or a `false` here (I5). */
export class RedisStore implements CountedStore {
  readonly #options: RedisStoreOptions;
  readonly #tally: Tally;
  readonly #bulk: RedisBulk;
  readonly #sums: Sums;
  readonly #control: RedisControl;
  /** Values being moved: enough to keep all connections busy, few enough to bound the memory they take half-filled. */
  readonly #moving: Gate;

  constructor(options: RedisStoreOptions) {
    const { url, prefix, connections, timeoutMs, random, log } = options;
    if (/[{}]/.test(prefix)) throw refusal(`LONGSHORE_REDIS_PREFIX "${prefix}" must not contain braces`);
    const target = parseRedisUrl(url);
    this.#options = options;
    this.#tally = new Tally(log);
    this.#sums = options.sums ?? zlibSums;
    this.#bulk = new RedisBulk(target, { connections, timeoutMs, random, sums: this.#sums });
    this.#control = new RedisControl(target, timeoutMs);
    this.#moving = new Gate(() => this.#bulk.underWayMax, WAITING_MAX);
  }

  async countPrefix(keys: readonly SegmentKey[]): Promise<number> {
    if (this.#tally.trouble("claim") === "readonly") return 0; // a replica would tell, but lets nobody read: a value read gets its life time anew
    const present = await this.#attempt("count", () => this.#control.run((redis) => this.#countPresent(redis, keys)));
    if (present !== null) this.#tally.worked("count");
    return present ?? 0;
  }

  async get(key: SegmentKey, head: ValueHead, allocate: Allocate): Promise<Memory | null> {
    const ttlMs = this.#options.ttlMs[head.kind];
    const result = await this.#attempt("get", () =>
      this.#moving.pass(() => readValue(this.#bulk, this.#nameOf(key), ttlMs, key, head, allocate)),
    );
    if (result === null) return null;
    if (typeof result === "object") this.#tally.hit(result.bytes.length);
    else if (result === "absent") this.#tally.miss();
    else this.#tally.damaged(head.kind, result);
    return typeof result === "object" ? result : null;
  }

  async put(key: SegmentKey, head: ValueHead, payload: Uint8Array): Promise<boolean> {
    const { ttlMs, pieceBytes } = this.#options;
    const header = encodeHeader(key, head, payload, this.#sums);
    const done = await this.#attempt("put", async () => {
      await this.#moving.pass(() => writeValue(this.#bulk, this.#nameOf(key), ttlMs[head.kind], header, payload, pieceBytes));
      return true;
    });
    if (done === null) return false;
    this.#tally.stored(head.kind, payload.length);
    return true;
  }

  async claim(key: SegmentKey, owner: string, ttlMs: number): Promise<boolean> {
    const granted = await this.#attempt("claim", () =>
      this.#control.run((redis) => redis.eval(CLAIM, 1, this.#claimName(key), owner, ttlMs)),
    );
    if (granted !== null) this.#tally.worked("claim");
    return granted === null || granted === 1;
  }

  async unclaim(key: SegmentKey, owner: string): Promise<void> {
    await this.#attempt("claim", () => this.#control.run((redis) => redis.eval(UNCLAIM, 1, this.#claimName(key), owner)));
  }

  async close(): Promise<void> {
    this.#control.close();
    await this.#bulk.close();
  }

  stats(): StoreStats {
    return this.#tally.stats();
  }

  /** Exact up to the first missing key, or as far as it came in the time of one exchange; transfers no value and touches none. */
  async #countPresent(redis: Redis, keys: readonly SegmentKey[]): Promise<number> {
    const { clock, timeoutMs } = this.#options;
    const endMs = clock.monotonicMs() + timeoutMs;
    for (let done = 0, size = COUNT_BATCH_FIRST; done < keys.length; size = Math.min(2 * size, COUNT_BATCH_MAX)) {
      if (clock.monotonicMs() > endMs) return done;
      const batch = keys.slice(done, done + size);
      const present = await Promise.all(batch.map((key) => redis.exists(this.#nameOf(key)(0))));
      const missing = present.indexOf(0);
      if (missing >= 0) return done + missing;
      done += batch.length;
    }
    return keys.length;
  }

  /** Null where Redis failed: counted, and logged if that is news. */
  async #attempt<T>(operation: Operation, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RedisFailure)) throw error;
      this.#tally.failed(operation, error.reason, error);
      return null;
    }
  }

  #nameOf(key: SegmentKey): PieceName {
    const name = `${this.#options.prefix}:{${key}}`;
    return (index) => (index === 0 ? name : `${name}:${index}`);
  }

  #claimName(key: SegmentKey): string {
    return `${this.#nameOf(key)(0)}:claim`;
  }
}
