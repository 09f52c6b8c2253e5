import { Redis } from "ioredis";
import { RedisFailure } from "./failure.ts";
import { DIRECT, type SendOn, type Trip } from "./redirection.ts";
import { nameOf, type RedisTarget, serverName } from "./target.ts";

const BACKOFF_MS_MAX = 2_000;

/** The connection for small commands: claims and questions, which must not wait behind values. */
export class RedisControl {
  readonly #redis: Redis;
  readonly #sendOn: SendOn<RedisControl>;
  readonly #name: string;
  /** Resolves when the first attempt to connect ended or is late: only that one is worth waiting for. */
  readonly #opened: Promise<void>;
  /**
   * Reconnecting because the server takes no writes: its name may lead to another by now. RedisConnection does the
   * same.
   */
  #leaving = false;
  /** Why it is away. */
  #failure = new RedisFailure("away", "not connected");

  constructor(target: RedisTarget, timeoutMs: number, sendOn: SendOn<RedisControl>) {
    this.#sendOn = sendOn;
    this.#name = nameOf(target);
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
      this.#failure = this.#asFailure(error);
    });
    this.#redis.on("ready", () => {
      this.#leaving = false;
    });
    this.#opened = new Promise((resolve) => {
      const late = setTimeout(resolve, timeoutMs);
      for (const event of ["ready", "close", "end"]) this.#redis.once(event, resolve).once(event, () => clearTimeout(late));
    });
  }

  /** `command` sends one command. Rejects with RedisFailure, at once while there is no connection. */
  run<T>(command: (redis: Redis) => Promise<T>, trip = DIRECT): Promise<T> {
    return this.#isReady ? this.#send(command, trip) : this.#opened.then(() => this.#send(command, trip));
  }

  /**
   * What `ask` runs on `controls` goes out in one write to each: hundreds of small writes take more time than Redis
   * does.
   */
  static together<T>(controls: ReadonlySet<RedisControl>, ask: () => T): T {
    const streams = [...controls].map((control) => control.#redis.stream);
    for (const stream of streams) stream?.cork();
    try {
      return ask();
    } finally {
      for (const stream of streams) stream?.uncork();
    }
  }

  get #isReady(): boolean {
    return !this.#leaving && this.#redis.status === "ready";
  }

  #send<T>(command: (redis: Redis) => Promise<T>, trip: Trip): Promise<T> {
    if (!this.#isReady) return Promise.reject(this.#failure);
    if (trip.asking) this.#redis.call("ASKING").catch(() => {}); // the command after it will fail, too
    return command(this.#redis).catch((error: Error) => {
      const failure = this.#asFailure(error);
      if (failure.isOfServer) this.#leave(failure);
      return this.#sendOn(failure, trip, (other, next) => other.run(command, next));
    });
  }

  #leave(failure: RedisFailure): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#failure = failure;
    this.#redis.disconnect(true);
  }

  /** Closes once everything asked before is answered. */
  async retire(): Promise<void> {
    await this.#opened;
    await this.#redis.quit().catch(() => {}); // it is away
    this.close();
  }

  close(): void {
    this.#redis.disconnect();
  }

  /** Adds the address where ioredis or Node leaves it out: on a timeout, or if a name has several addresses. */
  #asFailure({ name, message, code }: Error & { code?: string }): RedisFailure {
    if (name === "ReplyError") return RedisFailure.reply(message);
    if (message === "Command timed out") return new RedisFailure("deadline", `${message}: ${this.#name}`);
    return new RedisFailure("away", message === "" || code === "ETIMEDOUT" ? `${message || (code ?? name)}: ${this.#name}` : message);
  }
}
