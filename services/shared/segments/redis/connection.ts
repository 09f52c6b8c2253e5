import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Random } from "../../runtime/random.ts";
import type { Sums } from "../sums.ts";
import { RedisFailure } from "./failure.ts";
import { type Argument, encodeCommands, type Place, type Reply, ReplyReader } from "./resp.ts";
import { nameOf, type RedisTarget, serverName } from "./target.ts";

export interface Command {
  readonly args: readonly Argument[];
  /** Where a bulk reply goes; without it, its bytes are thrown away. */
  readonly place?: Place;
}

/** Commands sent together on one connection, answered together: with all replies in order, or with the failure of the connection. */
export interface Exchange {
  readonly commands: readonly Command[];
  readonly replies: Reply[];
  resolve(replies: readonly Reply[]): void;
  reject(failure: RedisFailure): void;
}

interface ConnectionOptions {
  /** Bounds connecting, and each exchange from when all before it are answered. */
  readonly timeoutMs: number;
  readonly random: Random;
  readonly sums: Sums;
  /** Called when `state` changed or an exchange ended: there may be room, or no hope. */
  readonly onChange: () => void;
}

const BACKOFF_MS_FIRST = 50;
const BACKOFF_MS_MAX = 2_000;

/**
 * One connection to Redis that comes back by itself. An exchange that is late ends the connection, since the replies behind it cannot
 * overtake; a connection counts as ready only once Redis itself has answered, since a stopped process still accepts. One to a server that takes
 * no writes is given up: it may have become a replica, and another stand where its name leads.
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
  /** It was given up because of what it answered last: being let in again says nothing. */
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

  /** One write, where no argument is bytes. */
  send(...exchanges: readonly Exchange[]): void {
    if (this.#pending.length === 0) this.#deadline.refresh();
    this.#pending.push(...exchanges);
    this.#socket.cork();
    for (const chunk of encodeCommands(exchanges.flatMap(({ commands }) => commands))) this.#socket.write(chunk);
    this.#socket.uncork();
  }

  /** Ends what is pending as failed; resolves when the socket no longer touches anybody's memory. */
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

  /** Ready means: let in, in the right database, and answering. */
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

  /** Before the first attempt ends this may be called with nothing pending: connecting itself is late. */
  #late(): void {
    if (this.state === "ready" && this.#pending.length === 0) return;
    this.#socket.destroy(
      new RedisFailure("deadline", `Redis at ${nameOf(this.#target)} did not answer within ${this.#options.timeoutMs} ms`),
    );
  }

  /** The socket reads and writes nobody's memory any more: only now are the owners told. */
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

  /** Doubles up to a bound; spread over a half, so that a restarted Redis is not met by everyone at once. */
  #backoffMs(): number {
    const ms = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** Math.min(this.#attempts++, 10));
    return ms * (0.5 + this.#options.random.u32() / 2 ** 33);
  }
}

/** Where a name has several addresses and none of them answers, Node has no message. */
function asFailure(error: Error & { code?: string }, target: RedisTarget): RedisFailure {
  return error instanceof RedisFailure
    ? error
    : new RedisFailure("away", error.message || `${error.code ?? error.name}: ${nameOf(target)}`);
}
