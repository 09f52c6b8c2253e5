import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { secondsOf } from "../bench.ts";

/** Connections, as the store has them, and commands under way on each. */
const CONNECTIONS = 2;
const WINDOW = 4;

export interface RawRates {
  /** Bytes of values per second. */
  readonly set: number;
  readonly get: number;
}

/**
 * What the server gives to whoever only asks: `count` values of `valueBytes` set and fetched over plain sockets, pipelined, with commands
 * made beforehand and replies that nobody looks at.
 */
export async function rawRedis(port: number, valueBytes: number, count: number): Promise<RawRates> {
  const bytes = valueBytes * count;
  return { set: bytes / (await rawSet(port, valueBytes, 0, count)), get: bytes / (await rawGet(port, valueBytes, 0, count)) };
}

/** Seconds for values `first`, `first` + 1, ... */
export function rawSet(port: number, valueBytes: number, first: number, count: number): Promise<number> {
  const value = Buffer.alloc(valueBytes, 1);
  const head = (i: number) => Buffer.from(`*3\r\n$3\r\nSET\r\n$12\r\n${name(i)}\r\n$${valueBytes}\r\n`);
  const commands = Array.from({ length: count }, (_, i) => [head(first + i), value, end]);
  return exchange(port, commands, "+OK\r\n".length);
}

/** Seconds for the same, all of which are set. */
export function rawGet(port: number, valueBytes: number, first: number, count: number): Promise<number> {
  const commands = Array.from({ length: count }, (_, i) => [Buffer.from(`*2\r\n$3\r\nGET\r\n$12\r\n${name(first + i)}\r\n`)]);
  return exchange(port, commands, `$${valueBytes}\r\n`.length + valueBytes + 2);
}

const name = (i: number) => `raw:${String(i).padStart(8, "0")}`;
const end = Buffer.from("\r\n");

/** Sends commands whose replies all have `replyBytes` bytes, shared among the connections; seconds from when these are open. */
async function exchange(port: number, commands: readonly (readonly Buffer[])[], replyBytes: number): Promise<number> {
  const shares = Array.from({ length: CONNECTIONS }, (_, lane) => commands.filter((_, i) => i % CONNECTIONS === lane));
  const lanes = shares.map((share) => new Lane(port, share, replyBytes));
  await Promise.all(lanes.map((lane) => lane.open()));
  return secondsOf(() => Promise.all(lanes.map((lane) => lane.exchange())));
}

class Lane {
  readonly #commands: readonly (readonly Buffer[])[];
  readonly #replyBytes: number;
  readonly #socket: Socket;
  readonly #done: Promise<void>;
  #sent = 0;
  #received = 0;
  #finish: () => void = () => {};

  constructor(port: number, commands: readonly (readonly Buffer[])[], replyBytes: number) {
    this.#commands = commands;
    this.#replyBytes = replyBytes;
    const buffer = Buffer.allocUnsafeSlow(1_048_576);
    const callback = (count: number) => {
      this.#received += count;
      this.#pump();
      return true;
    };
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true, onread: { buffer, callback } });
    this.#done = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#socket.once("error", reject).once("close", () => reject(new Error("Redis ended the connection")));
    });
  }

  async open(): Promise<void> {
    await Promise.race([once(this.#socket, "connect"), this.#done]);
  }

  async exchange(): Promise<void> {
    this.#pump();
    await this.#done;
    this.#socket.destroy();
  }

  #pump(): void {
    const answered = Math.floor(this.#received / this.#replyBytes);
    if (answered === this.#commands.length) this.#finish();
    this.#socket.cork();
    for (; this.#sent < Math.min(answered + WINDOW, this.#commands.length); this.#sent++) {
      for (const chunk of this.#commands[this.#sent]!) this.#socket.write(chunk);
    }
    this.#socket.uncork();
  }
}
