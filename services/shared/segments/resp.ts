import { HEADER_BYTES } from "./format.ts";
import { RedisFailure } from "./redis-failure.ts";

/** The longest bulk reply we accept: the largest piece with a header in front. */
const BULK_BYTES_MAX = 1_048_576 + HEADER_BYTES;
/** What is read before its destination is known: reply lines, and the first bytes behind them, which are then copied. More would be more copies. */
export const SCRATCH_BYTES = 2_048;

/** RESP2. `length` of a bulk reply; its bytes went where `place` said. */
export type Reply =
  | { readonly kind: "status" | "error"; readonly text: string }
  | { readonly kind: "integer"; readonly value: number }
  | { readonly kind: "bulk"; readonly length: number }
  | { readonly kind: "null" };

/**
 * Names memory for the bytes of a bulk reply of `length` bytes from byte `at` on: at first from 0, and again when what it gave is full and
 * the reply has more. What it gives may be longer than what comes, and is empty only where nothing comes. null: the rest is thrown away. Must not throw.
 */
export type Place = (length: number, at: number) => Uint8Array | null;

/** A list of byte arrays is one argument, one array behind the other. */
export type Argument = string | Uint8Array | readonly Uint8Array[];

/** Chunks that are not longer are copied together with their neighbours: each chunk of a write costs more. */
const JOINED_BYTES_MAX = 8_192;

/** Commands as chunks to write in order, as few as can be. Large byte arguments are passed on as they are, not copied: they must not change until the reply. */
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

/** Small neighbours as one. */
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

/** A bulk reply on its way. */
interface Body {
  readonly length: number;
  got: number;
  /** For its next bytes, at most as long as what is missing; null: they are thrown away. */
  room: Uint8Array | null;
}

/**
 * Takes replies apart as their bytes arrive, with large ones read straight into their destination: the socket reads into `buffer()`, then
 * calls `filled`. A reply outside these bounds, or of a type we never ask for, throws RedisFailure: the connection is then of no more use.
 */
export class ReplyReader {
  readonly #place: Place;
  readonly #onReply: (reply: Reply) => void;
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  /** Bytes of the scratch that are not taken apart yet. */
  #held = 0;
  #body: Body | null = null;

  constructor(place: Place, onReply: (reply: Reply) => void) {
    this.#place = place;
    this.#onReply = onReply;
  }

  buffer(): Uint8Array {
    return this.#direct()?.room ?? this.#scratch.subarray(this.#held);
  }

  /** `count` bytes were read into what `buffer()` last returned. */
  filled(count: number): void {
    const body = this.#direct();
    if (body !== null) {
      this.#advance(body, count);
      return;
    }
    this.#held += count;
    let at = 0;
    for (let next = this.#take(at); next > at; next = this.#take(at)) at = next;
    this.#scratch.copyWithin(0, at, this.#held);
    this.#held -= at;
    if (this.#held === SCRATCH_BYTES) throw new RedisFailure("protocol", "Redis sent a reply line without an end");
  }

  /** The body whose next bytes are read straight to where they belong. */
  #direct(): Body | null {
    const body = this.#body;
    return body !== null && body.room !== null && body.got < body.length ? body : null;
  }

  /** Takes one line or some of a body from `at` on; returns where it ended, `at` if more bytes are needed. */
  #take(at: number): number {
    return this.#body === null ? this.#takeLine(at) : this.#takeBody(this.#body, at);
  }

  #takeLine(at: number): number {
    const end = this.#scratch.subarray(0, this.#held).indexOf("\r\n", at, "latin1");
    if (end < 0) return at;
    const reply = parseLine(this.#scratch.toString("utf8", at, end));
    if (reply.kind === "bulk") this.#body = { length: reply.length, got: 0, room: this.#roomAt(reply.length, 0) };
    else this.#onReply(reply);
    return end + 2;
  }

  #takeBody(body: Body, at: number): number {
    const count = Math.min(body.length - body.got, body.room?.length ?? Number.POSITIVE_INFINITY, this.#held - at);
    body.room?.set(this.#scratch.subarray(at, at + count));
    this.#advance(body, count);
    const end = at + count;
    if (body.got < body.length || this.#held - end < 2) return end;
    if (this.#scratch.readUInt16BE(end) !== 0x0d0a) throw new RedisFailure("protocol", "Redis sent more bytes than it announced");
    this.#body = null;
    this.#onReply({ kind: "bulk", length: body.length });
    return end + 2;
  }

  /** So many more of its bytes are where they belong. */
  #advance(body: Body, count: number): void {
    body.got += count;
    if (body.room === null) return;
    body.room = body.room.subarray(count);
    if (body.room.length === 0 && body.got < body.length) body.room = this.#roomAt(body.length, body.got);
  }

  #roomAt(length: number, at: number): Uint8Array | null {
    return this.#place(length, at)?.subarray(0, length - at) ?? null;
  }
}

/** The reply that a line is, or for a bulk reply announces. */
function parseLine(line: string): Reply {
  const rest = line.slice(1);
  const value = /^-?\d{1,15}$/.test(rest) ? Number(rest) : Number.NaN;
  if (line[0] === "+") return { kind: "status", text: rest };
  if (line[0] === "-") return { kind: "error", text: rest };
  if (line[0] === ":" && !Number.isNaN(value)) return { kind: "integer", value };
  if (line === "$-1") return { kind: "null" };
  if (line[0] !== "$" || !(value >= 0)) throw new RedisFailure("protocol", `Redis sent "${line.slice(0, 40)}"`);
  if (value > BULK_BYTES_MAX) throw new RedisFailure("protocol", `Redis sent ${value} bytes where at most ${BULK_BYTES_MAX} belong`);
  return { kind: "bulk", length: value };
}
