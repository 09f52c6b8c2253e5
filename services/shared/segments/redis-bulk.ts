import type { Random } from "../runtime/random.ts";
import { type Command, type Exchange, RedisConnection } from "./redis-connection.ts";
import { RedisFailure } from "./redis-failure.ts";
import type { RedisTarget } from "./redis-target.ts";
import type { Reply } from "./resp.ts";

export interface BulkOptions {
  readonly connections: number;
  /** Exchanges under way on one connection: enough that neither side waits for the other. Refilled when half are answered, in one write. */
  readonly window: number;
  readonly timeoutMs: number;
  readonly random: Random;
}

/**
 * Moves values over connections of its own, so that no claim waits behind a piece. Exchanges start in the order they came, each on the
 * connection with the fewest before it; what is on the wire is bounded by connections x window x the size of a piece.
 */
export class RedisBulk {
  readonly #window: number;
  readonly #connections: readonly RedisConnection[];
  readonly #waiting: Exchange[] = [];
  #hurrying = false;

  constructor(target: RedisTarget, { connections, window, timeoutMs, random }: BulkOptions) {
    this.#window = window;
    const options = { timeoutMs, random, onChange: () => this.#pump() };
    this.#connections = Array.from({ length: connections }, () => new RedisConnection(target, options));
  }

  /** The replies in order. Rejects with RedisFailure for the first error reply among them, or if the connection fails; memory named by a `place` is then no longer written. */
  async run(...commands: readonly Command[]): Promise<readonly Reply[]> {
    const replies = await new Promise<readonly Reply[]>((resolve, reject) => {
      this.#waiting.push({ commands, replies: [], resolve, reject });
      this.#hurry();
    });
    for (const reply of replies) if (reply.kind === "error") throw RedisFailure.reply(reply.text);
    return replies;
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
    this.#pump();
  }

  /** What a turn of the event loop asks for goes out at its end, in one piece. */
  #hurry(): void {
    if (this.#hurrying) return;
    this.#hurrying = true;
    setImmediate(() => {
      this.#hurrying = false;
      this.#pump();
    });
  }

  #pump(): void {
    for (let free = this.#freest(); free !== null && this.#waiting.length > 0; free = this.#freest()) this.#fill(free);
    const [first] = this.#connections;
    if (this.#connections.some(({ state }) => state === "ready" || state === "opening")) return;
    for (const exchange of this.#waiting.splice(0)) exchange.reject(first!.failure);
  }

  /** Its share of what waits, as far as there is room. */
  #fill(connection: RedisConnection): void {
    const share = Math.ceil(this.#waiting.length / this.#connections.length);
    const exchanges = this.#waiting.splice(0, Math.min(share, this.#window - connection.pendingCount));
    connection.together(() => {
      for (const exchange of exchanges) connection.send(exchange);
    });
  }

  #freest(): RedisConnection | null {
    let best: RedisConnection | null = null;
    for (const connection of this.#connections) {
      if (connection.state !== "ready" || connection.pendingCount > this.#window / 2) continue;
      if (best === null || connection.pendingCount < best.pendingCount) best = connection;
    }
    return best;
  }
}
