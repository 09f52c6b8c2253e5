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
  const value = Buffer.alloc(valueBytes, 1);
  const name = (i: number) => `raw:${String(i).padStart(8, "0")}`;
  const sets = Array.from({ length: count }, (_, i) => [head("SET", name(i), valueBytes), value, end]);
  const gets = Array.from({ length: count }, (_, i) => [Buffer.from(`*2\r\n$3\r\nGET\r\n$12\r\n${name(i)}\r\n`)]);
  const bytes = valueBytes * count;
  const setSeconds = await secondsOf(() => exchange(port, sets, "+OK\r\n".length));
  const getSeconds = await secondsOf(() => exchange(port, gets, `$${valueBytes}\r\n`.length + valueBytes + 2));
  return { set: bytes / setSeconds, get: bytes / getSeconds };
}

const end = Buffer.from("\r\n");
const head = (command: string, name: string, valueBytes: number): Buffer =>
  Buffer.from(`*3\r\n$${command.length}\r\n${command}\r\n$${name.length}\r\n${name}\r\n$${valueBytes}\r\n`);

/** Sends commands whose replies all have `replyBytes` bytes, shared among the connections. */
async function exchange(port: number, commands: readonly (readonly Buffer[])[], replyBytes: number): Promise<void> {
  const lanes = Array.from({ length: CONNECTIONS }, (_, lane) => commands.filter((_, i) => i % CONNECTIONS === lane));
  await Promise.all(lanes.map((lane) => new Lane(port, lane, replyBytes).done()));
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

  async done(): Promise<void> {
    await Promise.race([once(this.#socket, "connect"), this.#done]);
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
