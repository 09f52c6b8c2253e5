import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Random } from "../../runtime/random.ts";
import type { Sums } from "../sums.ts";
import { RedisFailure } from "./failure.ts";
import { type Argument, encodeCommands, type Place, type Reply, ReplyReader } from "./resp.ts";
import { nameOf, type RedisTarget, serverName } from "./target.ts";

export interface Command {
  readonly args: readonly Argument[];
  /** Where a bulk reply is written; without it, its bytes are discarded. */
  readonly place?: Place;
}

/**
 * Commands sent together on one connection, answered together: with all replies in order, or with the failure of the
 * connection.
 */
export interface Exchange {
  readonly commands: readonly Command[];
  readonly replies: Reply[];
  resolve(replies: readonly Reply[]): void;
  reject(failure: RedisFailure): void;
}

interface ConnectionOptions {
  /** Bounds connecting, and each exchange from the moment all before it are answered. */
  readonly timeoutMs: number;
  readonly random: Random;
  readonly sums: Sums;
  /** Called when `state` changed or an exchange ended: more may be sent, or nothing can be. */
  readonly onChange: () => void;
}

const BACKOFF_MS_FIRST = 50;
const BACKOFF_MS_MAX = 2_000;

/**
 * One connection to Redis that reconnects by itself. A late exchange closes the connection, since the replies behind it
 * cannot overtake. A connection is ready only once Redis itself has answered, since a stopped process still accepts
 * connections. A connection to a server that takes no writes is closed: the server may have become a replica, and its
 * name may lead to another by now.
 */
export class RedisConnection {
  /** opening: the first attempt, worth waiting for. away: between attempts or in a later one, not worth waiting for. */
  state: "opening" | "ready" | "away" | "closed" = "opening";
  /** Why it is away. */
  failure = new RedisFailure("away", "not connected yet");
  readonly #target: RedisTarget;
  readonly #options: ConnectionOptions;
  readonly #pending: Exchange[] = [];
  #socket: Socket;
  #deadline: NodeJS.Timeout;
  #retry: NodeJS.Timeout | undefined;
  #attempts = 0;
  /** Closed because of its last answer: a greeting that succeeds then does not reset the backoff. */
  #refused = false;

  constructor(target: RedisTarget, options: ConnectionOptions) {
    this.#target = target;
    this.#options = options;
    this.#deadline = setTimeout(() => this.#late(), options.timeoutMs);
    this.#socket = this.#connect();
  }

  /** Exchanges that are not answered yet. */
  get pendingCount(): number {
    return this.#pending.length;
  }

  /** One write if no argument is a byte array. */
  send(...exchanges: readonly Exchange[]): void {
    if (this.#pending.length === 0) this.#deadline.refresh();
    this.#pending.push(...exchanges);
    this.#socket.cork();
    for (const chunk of encodeCommands(exchanges.flatMap(({ commands }) => commands))) this.#socket.write(chunk);
    this.#socket.uncork();
  }

  /** Rejects pending exchanges; resolves once the socket no longer touches their memory. */
  async close(): Promise<void> {
    this.state = "closed";
    this.failure = new RedisFailure("away", "the store is closed");
    clearTimeout(this.#retry);
    clearTimeout(this.#deadline);
    if (this.#socket.closed) return;
    await new Promise<void>((resolve) => {
      this.#socket.once("close", () => resolve());
      this.#socket.destroy();
    });
  }

  #connect(): Socket {
    const reader = new ReplyReader(
      (length, at) => this.#place(length, at),
      (reply) => this.#answered(reply),
      this.#options.sums,
    );
    const read = (count: number) => {
      try {
        reader.filled(count);
      } catch (error) {
        socket.destroy(error as Error);
      }
      return true;
    };
    const { host, port, path, tls } = this.#target;
    const options = { ...(path === null ? { host, port } : { path }), onread: { buffer: () => reader.buffer(), callback: read } };
    const socket: Socket = tls ? connectTls({ ...options, ...serverName(this.#target) }) : connectTcp({ ...options, noDelay: true });
    let failure = new RedisFailure("away", `Redis at ${nameOf(this.#target)} ended the connection`);
    socket.once(tls ? "secureConnect" : "connect", () => this.#greet());
    socket.once("end", () => socket.destroy());
    socket.on("error", (error) => {
      failure = asFailure(error, this.#target);
    });
    socket.once("close", () => this.#closed(failure));
    this.#deadline.refresh();
    return socket;
  }

  /** Ready means authenticated, in the right database, and answering. */
  #greet(): void {
    const { username, password, db } = this.#target;
    const commands: Command[] = [];
    if (password !== "") commands.push({ args: ["AUTH", ...(username === "" ? [] : [username]), password] });
    if (db !== 0) commands.push({ args: ["SELECT", String(db)] });
    commands.push({ args: ["PING"] });
    const resolve = (replies: readonly Reply[]) => {
      const refused = replies.find((reply) => reply.kind === "error");
      if (refused?.kind === "error") return void this.#socket.destroy(RedisFailure.reply(refused.text));
      this.state = "ready";
      if (!this.#refused) this.#attempts = 0;
      this.#options.onChange();
    };
    this.send({ commands, replies: [], resolve, reject: () => {} });
  }

  #place(length: number, at: number): Uint8Array | null {
    const exchange = this.#pending[0];
    return exchange?.commands[exchange.replies.length]?.place?.(length, at) ?? null;
  }

  #answered(reply: Reply): void {
    const exchange = this.#pending[0];
    if (exchange === undefined) throw new RedisFailure("protocol", "Redis sent an unexpected reply");
    exchange.replies.push(reply);
    if (exchange.replies.length < exchange.commands.length) return;
    this.#pending.shift();
    this.#deadline.refresh();
    const refusal = reply.kind === "error" ? RedisFailure.reply(reply.text) : null;
    if (this.state === "ready") this.#refused = refusal?.isOfServer === true;
    if (refusal?.isOfServer) this.#socket.destroy(refusal);
    exchange.resolve(exchange.replies);
    this.#options.onChange();
  }

  /** Until the connection is ready, connecting itself is late, also with nothing pending. */
  #late(): void {
    if (this.state === "ready" && this.#pending.length === 0) return;
    this.#socket.destroy(
      new RedisFailure("deadline", `Redis at ${nameOf(this.#target)} did not answer within ${this.#options.timeoutMs} ms`),
    );
  }

  /** The socket no longer touches the memory of pending exchanges: only now are these rejected. */
  #closed(failure: RedisFailure): void {
    if (this.state !== "closed") {
      this.state = "away";
      this.failure = failure;
      this.#retry = setTimeout(() => {
        this.#socket = this.#connect();
      }, this.#backoffMs());
    }
    for (const exchange of this.#pending.splice(0)) exchange.reject(this.failure);
    this.#options.onChange();
  }

  /** Doubles up to a bound; spread over a half, so that clients do not all reconnect to a restarted Redis at once. */
  #backoffMs(): number {
    const ms = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** Math.min(this.#attempts++, 10));
    return ms * (0.5 + this.#options.random.u32() / 2 ** 33);
  }
}

/** Node gives no message if a name has several addresses and none of them answers. */
function asFailure(error: Error & { code?: string }, target: RedisTarget): RedisFailure {
  return error instanceof RedisFailure
    ? error
    : new RedisFailure("away", error.message || `${error.code ?? error.name}: ${nameOf(target)}`);
}
