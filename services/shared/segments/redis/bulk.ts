import type { Random } from "../../runtime/random.ts";
import type { Sums } from "../sums.ts";
import { type Command, type Exchange, RedisConnection } from "./connection.ts";
import { RedisFailure } from "./failure.ts";
import { DIRECT, type SendOn } from "./redirection.ts";
import { argumentBytes, type Reply } from "./resp.ts";
import type { RedisTarget } from "./target.ts";

interface BulkOptions {
  readonly connections: number;
  readonly timeoutMs: number;
  readonly random: Random;
  readonly sums: Sums;
  readonly sendOn: SendOn<RedisBulk>;
}

const ASKING: Command = { args: ["ASKING"] };

/**
 * Bytes to keep in flight on one connection; the size of the last exchange says how many exchanges that is. A
 * connection is refilled when half are answered, in one write: a write that wakes an idle Redis on the same machine
 * takes the writer 20 us and more, longer than reading a value of 52 KB.
 */
const WINDOW_BYTES = 1_048_576;
const WINDOW_MIN = 2;
const WINDOW_MAX = 16;

/**
 * Moves values over connections of its own, so that no claim waits behind a piece. Exchanges start in order of arrival,
 * each on the connection with the fewest pending. Bytes in flight are bounded by connections x WINDOW_MAX x the size of
 * a piece.
 */
export class RedisBulk {
  #window = WINDOW_MAX;
  readonly #connections: readonly RedisConnection[];
  readonly #sendOn: SendOn<RedisBulk>;
  readonly #waiting: Exchange[] = [];
  #hurrying = false;
  /** Called when nothing is under way. */
  #onIdle: (() => void) | null = null;

  constructor(target: RedisTarget, { connections, timeoutMs, random, sums, sendOn }: BulkOptions) {
    this.#sendOn = sendOn;
    const options = { timeoutMs, random, sums, onChange: () => this.#hurry() };
    this.#connections = Array.from({ length: connections }, () => new RedisConnection(target, options));
  }

  /** The most exchanges in flight on all connections together. */
  get underWayMax(): number {
    return this.#window * this.#connections.length;
  }

  /**
   * Rejects with RedisFailure for an error reply, or if the connection fails; memory named by `place` is then no longer
   * written.
   */
  run(command: Command, trip = DIRECT): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const answered = (replies: readonly Reply[]) => {
        const reply = replies.at(-1)!;
        this.#window = windowFor(bytesMoved(command, reply));
        if (reply.kind === "error") resolve(this.#sendOn(RedisFailure.reply(reply.text), trip, (other, next) => other.run(command, next)));
        else resolve(reply);
      };
      this.#waiting.push({ commands: trip.asking ? [ASKING, command] : [command], replies: [], resolve: answered, reject });
      this.#hurry();
    });
  }

  /** Closes once every exchange is answered. */
  async retire(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      this.#hurry();
    });
    await this.close();
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
    this.#pump();
  }

  /** Exchanges queued in one turn of the event loop are sent together at its end. */
  #hurry(): void {
    if (this.#hurrying) return;
    this.#hurrying = true;
    setImmediate(() => {
      this.#hurrying = false;
      this.#pump();
    });
  }

  #pump(): void {
    for (let free = this.#free(); free.length > 0 && this.#waiting.length > 0; free = this.#free()) this.#fill(free);
    if (this.#connections.every(({ state }) => state === "away" || state === "closed")) this.#giveUp();
    if (this.#onIdle !== null && this.#isIdle) this.#onIdle();
  }

  #giveUp(): void {
    const [first] = this.#connections;
    for (const exchange of this.#waiting.splice(0)) exchange.reject(first!.failure);
  }

  get #isIdle(): boolean {
    return this.#waiting.length === 0 && this.#connections.every(({ pendingCount }) => pendingCount === 0);
  }

  /** Gives the freest connection its share of the waiting exchanges, as far as its window has room. */
  #fill(free: readonly RedisConnection[]): void {
    const freest = free.reduce((best, other) => (other.pendingCount < best.pendingCount ? other : best));
    const share = Math.ceil(this.#waiting.length / free.length);
    freest.send(...this.#waiting.splice(0, Math.min(share, this.#window - freest.pendingCount)));
  }

  #free(): RedisConnection[] {
    return this.#connections.filter(({ state, pendingCount }) => state === "ready" && pendingCount <= this.#window / 2);
  }
}

const windowFor = (bytes: number): number => Math.min(WINDOW_MAX, Math.max(WINDOW_MIN, Math.round(WINDOW_BYTES / bytes)));

function bytesMoved({ args }: Command, reply: Reply): number {
  let bytes = reply.kind === "bulk" ? reply.length : 0;
  for (const arg of args) if (typeof arg !== "string") bytes += argumentBytes(arg);
  return bytes;
}
