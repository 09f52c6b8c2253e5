import { ServingError } from "../../runtime/errors.ts";
import { UNTRUSTED } from "../../runtime/store-url.ts";
import { RedisControl } from "./control.ts";
import { nowhere } from "./redirection.ts";
import { parseRedisUrl } from "./target.ts";

/** What a Redis says of itself. */
interface RedisReport {
  readonly version: string;
  readonly memoryBytes: number;
  /** 0: no bound. */
  readonly memoryBytesMax: number;
  readonly policy: string;
  readonly isReplica: boolean;
}

/** One question, on a connection of its own. UNAVAILABLE, and what to do, within about `timeoutMs`. INVALID_REQUEST for a URL that cannot be read. */
export async function askRedis(url: string, timeoutMs: number): Promise<RedisReport> {
  const control = new RedisControl(parseRedisUrl(url), timeoutMs, nowhere);
  try {
    return reported(await control.run((redis) => redis.info()));
  } catch (cause) {
    const { message } = cause as Error;
    throw new ServingError("UNAVAILABLE", `Redis does not answer (${message}); ${adviceFor(message)}`, { cause });
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
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
  return {
    version: field("redis_version"),
    memoryBytes: Number(field("used_memory")),
    memoryBytesMax: Number(field("maxmemory")),
    policy: field("maxmemory_policy"),
    isReplica: field("role") === "slave",
  };
}
