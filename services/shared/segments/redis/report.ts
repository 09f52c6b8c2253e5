import { ServingError } from "../../runtime/errors.ts";
import { UNTRUSTED } from "../../runtime/store-url.ts";
import { RedisControl } from "./control.ts";
import { nowhere } from "./redirection.ts";
import { slotMapOf } from "./slot-map.ts";
import { nameOf, parseRedisUrls, type RedisTarget } from "./target.ts";

/** What a Redis reports about itself. */
export interface RedisReport {
  readonly version: string;
  readonly memoryBytes: number;
  /** 0: no bound. */
  readonly memoryBytesMax: number;
  readonly policy: string;
  readonly isReplica: boolean;
}

/** What a node reports about its cluster, and each master about itself. */
export interface ClusterReport {
  readonly version: string;
  /** As the node says: `ok` or `fail`. */
  readonly state: string;
  /** Of 16384, the slots that a master serves as far as the node knows. */
  readonly slotsServed: number;
  /** By name; a string is why that master does not answer. */
  readonly masters: ReadonlyMap<string, RedisReport | string>;
}

type Asked = { readonly single: RedisReport } | { readonly cluster: ClusterReport };

/**
 * Asks the first server of `url` that answers and, if it is part of a cluster, all its masters, on connections of their
 * own. Throws UNAVAILABLE, with advice, within a few times `timeoutMs` for each server; INVALID_REQUEST for a URL that
 * cannot be read.
 */
export async function askRedis(url: string, timeoutMs: number): Promise<Asked> {
  const failures: string[] = [];
  for (const target of parseRedisUrls(url)) {
    try {
      return await askServer(target, timeoutMs);
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  const message = failures.join("; ");
  throw new ServingError("UNAVAILABLE", `Redis does not answer (${message}); ${adviceFor(message)}`);
}

async function askServer(target: RedisTarget, timeoutMs: number): Promise<Asked> {
  const info = await ask(target, timeoutMs, (redis) => redis.info());
  if (fieldOf(info, "cluster_enabled") !== "1") return { single: reported(info) };
  const [state, map] = await ask(target, timeoutMs, (redis) => Promise.all([redis.cluster("INFO"), redis.cluster("SLOTS")]));
  const masters = new Map(slotMapOf(map, target).map(({ master }) => [nameOf(master), master]));
  const answers = [...masters].map(async ([name, master]) => {
    const answer = ask(master, timeoutMs, (redis) => redis.info()).then(reported);
    return [name, await answer.catch((error: Error) => error.message)] as const;
  });
  const cluster = {
    version: fieldOf(info, "redis_version"),
    state: fieldOf(String(state), "cluster_state"),
    slotsServed: Number(fieldOf(String(state), "cluster_slots_ok")),
    masters: new Map(await Promise.all(answers)),
  };
  return { cluster };
}

async function ask<T>(target: RedisTarget, timeoutMs: number, question: Parameters<typeof RedisControl.prototype.run<T>>[0]): Promise<T> {
  const control = new RedisControl(target, timeoutMs, nowhere);
  try {
    return await control.run(question);
  } finally {
    control.close();
  }
}

function adviceFor(message: string): string {
  if (/^(NOAUTH|WRONGPASS|NOPERM|ERR invalid password|ERR AUTH)/.test(message)) return "check the user and password in LONGSHORE_REDIS_URL";
  if (UNTRUSTED.pattern.test(message)) return UNTRUSTED.advice;
  if (/ECONNRESET/.test(message)) return "check LONGSHORE_REDIS_URL: rediss:// where it speaks TLS, redis:// where it does not";
  return "check LONGSHORE_REDIS_URL and that redis-server is up";
}

function reported(info: string): RedisReport {
  return {
    version: fieldOf(info, "redis_version"),
    memoryBytes: Number(fieldOf(info, "used_memory")),
    memoryBytesMax: Number(fieldOf(info, "maxmemory")),
    policy: fieldOf(info, "maxmemory_policy"),
    isReplica: fieldOf(info, "role") === "slave",
  };
}

const fieldOf = (info: string, name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
