import { HEADER_BYTES } from "../format.ts";
import type { Sums } from "../sums.ts";
import { RedisFailure } from "./failure.ts";

/** The longest bulk reply we accept: the largest piece with a header in front. */
const BULK_BYTES_MAX = 1_048_576 + HEADER_BYTES;
/** Including its end. */
const LINE_BYTES_MAX = 2_048;
/**
 * The most bytes of one read: several values of 52 KB, since a read costs more than copying one of them, and few enough
 * to stay in a core's cache until they are copied.
 */
const READ_BYTES = 262_144;
/**
 * If at least this many bytes of a value are missing, reads go straight to their place: copying would cost more than
 * the reads it saves.
 */
const STRAIGHT_BYTES_MIN = 131_072;

/**
 * A RESP2 reply. The `length` bytes of a bulk reply went where `place` said; `sum` is the CRC-32 of those in the memory
 * it gave last.
 */
export type Reply =
  | { readonly kind: "status" | "error"; readonly text: string }
  | { readonly kind: "bulk"; readonly length: number; readonly sum: number }
  | { readonly kind: "null" };

/**
 * Gives memory for the bytes of a bulk reply of `length` bytes from byte `at` on. Called first with 0, and again when
 * that memory is full and the reply has more. The memory may be longer than what comes, and is empty only if nothing
 * comes. null: the rest is discarded. Must not throw.
 */
export type Place = (length: number, at: number) => Uint8Array | null;

/** A list of byte arrays is one argument: the arrays one after the other. */
export type Argument = string | Uint8Array | readonly Uint8Array[];

/** Chunks up to this size are copied together with their neighbours: each chunk of a write costs more. */
const JOINED_BYTES_MAX = 8_192;

/**
 * Commands as chunks to write in order, as few as possible. Large byte arguments are not copied: they must not change
 * until the reply.
 */
export function encodeCommands(commands: readonly { readonly args: readonly Argument[] }[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let text = "";
  for (const { args } of commands) {
    text += `*${args.length}\r\n`;
    for (const arg of args) {
      text += `$${argumentBytes(arg)}\r\n`;
      if (typeof arg === "string") {
        text += `${arg}\r\n`;
      } else {
        chunks.push(Buffer.from(text), ...(arg instanceof Uint8Array ? [arg] : arg));
        text = "\r\n";
      }
    }
  }
  chunks.push(Buffer.from(text));
  return chunks.length > 1 ? joined(chunks) : chunks;
}

export function argumentBytes(arg: Argument): number {
  if (typeof arg === "string") return Buffer.byteLength(arg);
  return arg instanceof Uint8Array ? arg.length : arg.reduce((sum, { length }) => sum + length, 0);
}

/** Joins neighbouring small chunks. */
function joined(chunks: readonly Uint8Array[]): Uint8Array[] {
  const whole: Uint8Array[] = [];
  let small: Uint8Array[] = [];
  const join = () => {
    if (small.length > 0) whole.push(small.length === 1 ? small[0]! : Buffer.concat(small));
    small = [];
  };
  for (const chunk of chunks) {
    if (chunk.length <= JOINED_BYTES_MAX) {
      small.push(chunk);
    } else {
      join();
      whole.push(chunk);
    }
  }
  join();
  return whole;
}

/** A bulk reply that is being received. */
interface Body {
  readonly length: number;
  got: number;
  /** Where its next bytes go; null: they are discarded. */
  room: Uint8Array | null;
  /** Bytes in `room`. */
  filled: number;
  /** CRC-32 of the bytes in `room`. */
  sum: number;
}

/**
 * Parses replies as their bytes arrive: the socket reads into `buffer()`, then calls `filled`. Values are copied from
 * there or, if large, read straight into place; either way their CRC-32 is computed. A reply outside these bounds, or
 * of a type we never ask for, throws RedisFailure: the connection is then of no more use.
 */
export class ReplyReader {
  readonly #place: Place;
  readonly #onReply: (reply: Reply) => void;
  readonly #sums: Sums;
  readonly #read = Buffer.allocUnsafeSlow(READ_BYTES);
  /** Bytes read and not parsed yet. */
  #held = 0;
  #body: Body | null = null;

  constructor(place: Place, onReply: (reply: Reply) => void, sums: Sums) {
    this.#place = place;
    this.#onReply = onReply;
    this.#sums = sums;
  }

  buffer(): Uint8Array {
    return this.#straight() ?? (this.#held === 0 ? this.#read : this.#read.subarray(this.#held));
  }

  /** `count` bytes were read into what `buffer()` last returned. */
  filled(count: number): void {
    const straight = this.#straight();
    if (straight !== null) {
      this.#advance(this.#body!, count, this.#sums.of(straight.subarray(0, count), this.#body!.sum));
      return;
    }
    this.#held += count;
    let at = 0;
    for (let next = this.#take(at); next > at; next = this.#take(at)) at = next;
    this.#read.copyWithin(0, at, this.#held);
    this.#held -= at;
  }

  /** Where a large body's next bytes are read to; null: they are read into the buffer and copied. */
  #straight(): Uint8Array | null {
    const body = this.#body;
    if (body === null || body.room === null) return null;
    const bytes = Math.min(body.room.length - body.filled, body.length - body.got);
    return bytes < STRAIGHT_BYTES_MIN ? null : body.room.subarray(body.filled, body.filled + bytes);
  }

  /** Parses one line or part of a body from `at` on; returns where it ended, `at` if more bytes are needed. */
  #take(at: number): number {
    return this.#body === null ? this.#takeLine(at) : this.#takeBody(this.#body, at);
  }

  #takeLine(at: number): number {
    const line = this.#read.subarray(at, Math.min(at + LINE_BYTES_MAX, this.#held));
    const length = line.indexOf("\r\n", 0, "latin1");
    if (length < 0 && line.length === LINE_BYTES_MAX) throw new RedisFailure("protocol", "Redis sent a reply line without an end");
    if (length < 0) return at;
    const reply = parseLine(line.toString("utf8", 0, length));
    if (reply.kind === "bulk") this.#body = { length: reply.length, got: 0, room: this.#place(reply.length, 0), filled: 0, sum: 0 };
    else this.#onReply(reply);
    return at + length + 2;
  }

  #takeBody(body: Body, at: number): number {
    const room = body.room === null ? Number.POSITIVE_INFINITY : body.room.length - body.filled;
    const count = Math.min(body.length - body.got, room, this.#held - at);
    const sum = body.room === null || count === 0 ? body.sum : this.#sums.copy(body.room, body.filled, this.#read, at, count, body.sum);
    this.#advance(body, count, sum);
    const end = at + count;
    if (body.got < body.length || this.#held - end < 2) return end;
    if (this.#read.readUInt16BE(end) !== 0x0d0a) throw new RedisFailure("protocol", "Redis sent more bytes than it announced");
    this.#body = null;
    this.#onReply({ kind: "bulk", length: body.length, sum: body.sum });
    return end + 2;
  }

  /**
   * `count` more bytes of the body are in place, and `sum` is the CRC-32 of its room. If the room is full and more
   * bytes will come, asks for another.
   */
  #advance(body: Body, count: number, sum: number): void {
    body.got += count;
    body.filled += count;
    body.sum = sum;
    if (body.filled !== body.room?.length || body.got === body.length) return;
    body.room = this.#place(body.length, body.got);
    body.filled = 0;
    body.sum = 0;
  }
}

/** The reply that a line is, or the bulk reply that it announces. */
function parseLine(line: string): Exclude<Reply, { kind: "bulk" }> | { readonly kind: "bulk"; readonly length: number } {
  const rest = line.slice(1);
  if (line[0] === "+") return { kind: "status", text: rest };
  if (line[0] === "-") return { kind: "error", text: rest };
  if (line === "$-1") return { kind: "null" };
  if (!/^\$\d{1,15}$/.test(line)) throw new RedisFailure("protocol", `Redis sent "${line.slice(0, 40)}"`);
  const length = Number(rest);
  if (length > BULK_BYTES_MAX) throw new RedisFailure("protocol", `Redis sent ${length} bytes where at most ${BULK_BYTES_MAX} are allowed`);
  return { kind: "bulk", length };
}
