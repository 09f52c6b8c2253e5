import type { Clock } from "../../runtime/clock.ts";
import { refusal } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import type { Allocate, Memory } from "../../runtime/memory.ts";
import type { Random } from "../../runtime/random.ts";
import type { CountedStore, SegmentKey, StoreStats, ValueHead } from "../contract.ts";
import { encodeHeader } from "../format.ts";
import { type Sums, zlibSums } from "../sums.ts";
import { type Operation, Tally } from "../tally.ts";
import { RedisControl } from "./control.ts";
import { RedisFailure } from "./failure.ts";
import type { RedisNode } from "./node.ts";
import { RedisServers } from "./servers.ts";
import { parseRedisUrls } from "./target.ts";
import { type PieceName, readValue, writeValue } from "./values.ts";

export interface RedisStoreOptions {
  /** See parseRedisUrls. */
  readonly url: string;
  /** Begins every key; without braces. */
  readonly prefix: string;
  /** Connections to each server that move values, besides one for everything else. */
  readonly connections: number;
  /** 4096 to 1048576. Stores may differ in it. */
  readonly pieceBytes: number;
  /**
   * Bounds every exchange with Redis. A value of n pieces may take longer while it makes progress, as may a command
   * that a cluster sends on, four times at most; one that makes none cannot.
   */
  readonly timeoutMs: number;
  /** How long an unused value is kept. */
  readonly ttlMs: Readonly<Record<ValueHead["kind"], number>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Replaces zlib's CRC-32. */
  readonly sums?: Sums | null;
}

/** Keys queried together: few at first, since a cold prompt has none, then more. */
const COUNT_BATCH_FIRST = 16;
const COUNT_BATCH_MAX = 512;

/** Stands for the server in failures of a slot, which are not failures of the server that reports them. */
const UNSERVED = "slots without a master";

/** Sets the claim unless another owner holds it. KEYS: claim. ARGV: owner, ms. */
const CLAIM = `local owner = redis.call("GET", KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1`;

/** Deletes the claim if it is the owner's. KEYS: claim. ARGV: owner. */
const UNCLAIM = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`;

/**
 * Segments in Redis or Valkey, one server or a cluster. Any failure there is a miss or a `false` here (I5). All keys of
 * a value have one hash tag, and no command has two.
 */
export class RedisStore implements CountedStore {
  readonly #options: RedisStoreOptions;
  readonly #tally: Tally;
  readonly #sums: Sums;
  readonly #servers: RedisServers;

  constructor(options: RedisStoreOptions) {
    const { url, prefix, log } = options;
    if (/[{}]/.test(prefix)) throw refusal(`LONGSHORE_REDIS_PREFIX "${prefix}" must not contain braces`);
    this.#options = options;
    this.#tally = new Tally(log);
    this.#sums = options.sums ?? zlibSums;
    this.#servers = new RedisServers(parseRedisUrls(url), {
      ...options,
      sums: this.#sums,
      onLeft: (server) => this.#tally.left(server),
      onWhole: () => this.#tally.recovered(UNSERVED),
    });
  }

  /**
   * Exact up to the first key that is missing or whose server does not answer, or as far as it came in the time of one
   * exchange. Transfers no value and renews none.
   */
  async countPrefix(keys: readonly SegmentKey[]): Promise<number> {
    const { clock, timeoutMs } = this.#options;
    const endMs = clock.monotonicMs() + timeoutMs;
    for (let done = 0, size = COUNT_BATCH_FIRST; done < keys.length; size = Math.min(2 * size, COUNT_BATCH_MAX)) {
      if (clock.monotonicMs() > endMs) return done;
      const batch = keys.slice(done, done + size);
      const present = await this.#countPresent(batch);
      done += present;
      if (present < batch.length) return done;
    }
    return keys.length;
  }

  async get(key: SegmentKey, head: ValueHead, allocate: Allocate): Promise<Memory | null> {
    const ttlMs = this.#options.ttlMs[head.kind];
    const name = this.#nameOf(key);
    const node = this.#servers.of(name(0));
    const result = await this.#attempt("get", node, () => node.moving.pass(() => readValue(node.bulk, name, ttlMs, key, head, allocate)));
    if (result === null) return null;
    if (typeof result === "object") this.#tally.hit(result.bytes.length, node.name);
    else if (result === "absent") this.#tally.miss(node.name);
    else this.#tally.damaged(head.kind, result, node.name);
    return typeof result === "object" ? result : null;
  }

  async put(key: SegmentKey, head: ValueHead, payload: Uint8Array): Promise<boolean> {
    const { ttlMs, pieceBytes } = this.#options;
    const header = encodeHeader(key, head, payload, this.#sums);
    const name = this.#nameOf(key);
    const node = this.#servers.of(name(0));
    const done = await this.#attempt("put", node, async () => {
      await node.moving.pass(() => writeValue(node.bulk, name, ttlMs[head.kind], header, payload, pieceBytes));
      return true;
    });
    if (done === null) return false;
    this.#tally.stored(head.kind, payload.length, node.name);
    return true;
  }

  async claim(key: SegmentKey, owner: string, ttlMs: number): Promise<boolean> {
    const name = this.#claimName(key);
    const node = this.#servers.of(name);
    const granted = await this.#attempt("claim", node, () => node.control.run((redis) => redis.eval(CLAIM, 1, name, owner, ttlMs)));
    if (granted !== null) this.#tally.worked("claim", node.name);
    return granted === null || granted === 1;
  }

  async unclaim(key: SegmentKey, owner: string): Promise<void> {
    const name = this.#claimName(key);
    const node = this.#servers.of(name);
    await this.#attempt("claim", node, () => node.control.run((redis) => redis.eval(UNCLAIM, 1, name, owner)));
  }

  async close(): Promise<void> {
    await this.#servers.close();
  }

  stats(): StoreStats {
    return this.#tally.stats();
  }

  /** How many leading keys are present. A failure is counted only if it is of the first key that is not. */
  async #countPresent(keys: readonly SegmentKey[]): Promise<number> {
    const names = keys.map((key) => this.#nameOf(key)(0));
    const nodes = names.map((name) => this.#servers.of(name));
    const ask = () => names.map((name, i) => nodes[i]!.control.run((redis) => redis.exists(name)));
    const found = await Promise.allSettled(RedisControl.together(new Set(nodes.map(({ control }) => control)), ask));
    for (const [i, one] of found.entries()) {
      const node = nodes[i]!;
      if (this.#tally.trouble("claim", node.name) === "readonly") return i; // a replica answers, but no value can be read there: reading renews its life
      if (one.status === "rejected") this.#failed("count", node, one.reason);
      else this.#tally.worked("count", node.name);
      if (one.status === "rejected" || one.value === 0) return i;
    }
    return keys.length;
  }

  /** Null if Redis failed, which is counted, and logged if it is news. */
  async #attempt<T>(operation: Operation, node: RedisNode, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      this.#failed(operation, node, error);
      return null;
    }
  }

  #failed(operation: Operation, node: RedisNode, error: unknown): void {
    if (!(error instanceof RedisFailure)) throw error;
    const server = error.server ?? node.name;
    this.#tally.failed(operation, error.reason, error, error.isOfSlot ? UNSERVED : server);
    this.#servers.failed(server, error);
  }

  #nameOf(key: SegmentKey): PieceName {
    const name = `${this.#options.prefix}:{${key}}`;
    return (index) => (index === 0 ? name : `${name}:${index}`);
  }

  #claimName(key: SegmentKey): string {
    return `${this.#nameOf(key)(0)}:claim`;
  }
}
