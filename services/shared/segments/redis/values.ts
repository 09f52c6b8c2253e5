import type { Allocate, Memory } from "../../runtime/memory.ts";
import type { SegmentKey, ValueHead } from "../contract.ts";
import { type Accepted, acceptHeader, type DamageReason, HEADER_BYTES, refusePayload } from "../format.ts";
import { sumOfBoth } from "../sums.ts";
import type { RedisBulk } from "./bulk.ts";
import { RedisFailure } from "./failure.ts";
import type { Place, Reply } from "./resp.ts";

/** No payload is cut finer than this, so that a value has a bounded number of pieces. */
export const PIECE_BYTES_MIN = 4_096;

/**
 * The Redis keys of a value: header and first piece of the payload under the first, further pieces under the others,
 * all with one hash tag. The writer chooses the size of a piece: a reader learns it from the first.
 */
export type PieceName = (index: number) => string;

type ReadResult = Memory | DamageReason | "absent";

type Refusal = DamageReason | "absent" | RedisFailure;

/**
 * Reads a value into memory from `allocate` and keeps it alive for another `ttlMs`. The first piece takes one round
 * trip, all others a second. Rejects with RedisFailure; unless the result is memory, what was allocated is released,
 * once nothing writes to it any more.
 */
export async function readValue(
  bulk: RedisBulk,
  name: PieceName,
  ttlMs: number,
  key: SegmentKey,
  head: ValueHead,
  allocate: Allocate,
): Promise<ReadResult> {
  const value = new Incoming(key, head, allocate);
  const fetch = async (index: number, place: Place) =>
    value.arrived(index, await bulk.run({ args: ["GETEX", name(index), "PX", String(ttlMs)], place }));
  try {
    await fetch(0, (length, at) => value.placeFirst(length, at));
    if (value.pieces > 1) {
      const rest = Array.from({ length: value.pieces - 1 }, (_, i) => fetch(i + 1, (length) => value.placePiece(i + 1, length)));
      await allSettled(rest);
    }
    return value.result();
  } catch (error) {
    value.release();
    throw error;
  }
}

/**
 * Writes the first piece last, so that a value whose writer died is a miss. Rejects with RedisFailure. `payload` is not
 * read any more once the promise settles.
 */
export async function writeValue(
  bulk: RedisBulk,
  name: PieceName,
  ttlMs: number,
  header: Uint8Array,
  payload: Uint8Array,
  pieceBytes: number,
): Promise<void> {
  const store = (index: number, ...before: Uint8Array[]) => {
    const piece = payload.subarray(index * pieceBytes, (index + 1) * pieceBytes);
    return bulk.run({ args: ["SET", name(index), [...before, piece], "PX", String(ttlMs)] });
  };
  const pieces = Math.ceil(payload.length / pieceBytes);
  if (pieces > 1) await allSettled(Array.from({ length: pieces - 1 }, (_, i) => store(i + 1)));
  await store(0, header);
}

/** A value being read. Its `place` methods run inside the reply parser: the first refusal decides. */
class Incoming {
  pieces = 0;
  readonly #key: SegmentKey;
  readonly #head: ValueHead;
  readonly #allocate: Allocate;
  readonly #header = Buffer.allocUnsafe(HEADER_BYTES); // from Node's pool
  /** CRC-32 of each piece that is here. */
  readonly #sums: number[] = [];
  #pieceBytes = 0;
  #accepted: Accepted | null = null;
  #memory: Memory | null = null;
  #refused: Refusal | null = null;

  constructor(key: SegmentKey, head: ValueHead, allocate: Allocate) {
    this.#key = key;
    this.#head = head;
    this.#allocate = allocate;
  }

  /** Memory for the header and, once that is accepted, for the rest of the first piece. */
  placeFirst(length: number, at: number): Uint8Array | null {
    if (length < HEADER_BYTES) return this.#refuse("size");
    return at === 0 ? this.#header : this.#open(length - HEADER_BYTES);
  }

  placePiece(index: number, length: number): Uint8Array | null {
    if (this.#memory === null) return null;
    const from = index * this.#pieceBytes;
    const to = Math.min(from + this.#pieceBytes, this.#memory.bytes.length);
    return length === to - from ? this.#memory.bytes.subarray(from, to) : this.#refuse("size");
  }

  arrived(index: number, reply: Reply): void {
    if (reply.kind !== "bulk") this.#refuse("absent");
    else if (index === 0 && reply.length === HEADER_BYTES)
      this.#open(0); // nothing follows it
    else this.#sums[index] = reply.sum;
  }

  /** The header is in place and `length` bytes follow it: checks it, allocates the payload and gives room for them. */
  #open(length: number): Uint8Array | null {
    const accepted = acceptHeader(this.#header, this.#key, this.#head);
    if (typeof accepted === "string") return this.#refuse(accepted);
    const { payloadBytes } = accepted;
    if (length > payloadBytes || (length < payloadBytes && length < PIECE_BYTES_MIN)) return this.#refuse("size");
    this.#accepted = accepted;
    this.#pieceBytes = length;
    try {
      this.#memory = this.#allocate(payloadBytes);
    } catch (error) {
      return this.#refuse(new RedisFailure("memory", error instanceof Error ? error.message : String(error)));
    }
    this.pieces = length === 0 ? 1 : Math.ceil(payloadBytes / length);
    return this.#memory.bytes.subarray(0, length);
  }

  result(): ReadResult {
    if (this.#refused === null && this.#accepted !== null && this.#memory !== null) {
      const damage = refusePayload(this.#memory.bytes.length, this.#sum(this.#memory.bytes.length), this.#accepted);
      if (damage === null) return this.#memory;
      this.#refuse(damage);
    }
    if (this.#refused instanceof RedisFailure) throw this.#refused;
    this.release();
    return this.#refused ?? "absent";
  }

  release(): void {
    this.#memory?.release();
  }

  /** CRC-32 of all pieces together. */
  #sum(bytes: number): number {
    const [first = 0, ...others] = this.#sums;
    return others.reduce((sum, next, i) => sumOfBoth(sum, next, Math.min(this.#pieceBytes, bytes - (i + 1) * this.#pieceBytes)), first);
  }

  #refuse(reason: Refusal): null {
    this.#refused ??= reason;
    return null;
  }
}

/** Like Promise.all, but rejects only after every one has settled: until then memory is in use. */
async function allSettled(promises: readonly Promise<unknown>[]): Promise<void> {
  if (promises.length === 0) return;
  const results = await Promise.allSettled(promises);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
