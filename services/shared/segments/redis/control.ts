import { Redis } from "ioredis";
import { RedisFailure } from "./failure.ts";
import { type RedisTarget, serverName } from "./target.ts";

const BACKOFF_MS_MAX = 2_000;

/** The connection for small commands: claims and questions, which must not wait behind values. */
export class RedisControl {
  readonly #redis: Redis;
  /** Resolves when the first attempt to connect ended or is late: it is worth waiting for, later ones are not. */
  readonly #opened: Promise<void>;
  /** From a server that takes no writes, for whatever its name leads to now: as the connections that move values do. */
  #leaving = false;
  /** Why it is away. */
  #failure = new RedisFailure("away", "not connected");

  constructor(target: RedisTarget, timeoutMs: number) {
    const { path, host, port, username, password, db } = target;
    this.#redis = new Redis({
      ...(path === null ? { host, port } : { path }),
      ...(target.tls ? { tls: serverName(target) } : {}),
      ...(username === "" ? {} : { username }),
      ...(password === "" ? {} : { password }),
      db,
      protocol: 2,
      connectTimeout: timeoutMs,
      commandTimeout: timeoutMs,
      socketTimeout: timeoutMs,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempts) => Math.min(BACKOFF_MS_MAX, 50 * attempts),
    });
    this.#redis.on("error", (error: Error & { code?: string }) => {
      this.#failure = new RedisFailure("away", error.message || (error.code ?? error.name));
    });
    this.#redis.on("ready", () => {
      this.#leaving = false;
    });
    this.#opened = new Promise((resolve) => {
      const late = setTimeout(resolve, timeoutMs);
      for (const event of ["ready", "close", "end"]) this.#redis.once(event, resolve).once(event, () => clearTimeout(late));
    });
  }

  /** Rejects with RedisFailure, at once while there is no connection. */
  async run<T>(command: (redis: Redis) => Promise<T>): Promise<T> {
    await this.#opened;
    if (this.#leaving || this.#redis.status !== "ready") throw this.#failure;
    try {
      return await command(this.#redis);
    } catch (error) {
      const failure = asFailure(error as Error);
      if (failure.reason === "readonly") this.#leave(failure);
      throw failure;
    }
  }

  #leave(failure: RedisFailure): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#failure = failure;
    this.#redis.disconnect(true);
  }

  close(): void {
    this.#redis.disconnect();
  }
}

function asFailure(error: Error): RedisFailure {
  if (error.name === "ReplyError") return RedisFailure.reply(error.message);
  return new RedisFailure(error.message === "Command timed out" ? "deadline" : "away", error.message);
}
