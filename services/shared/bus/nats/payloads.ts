import { createHash } from "node:crypto";
import { ServingError } from "../../runtime/errors.ts";
import { backoffMs, Pause } from "../../runtime/pause.ts";
import type { PayloadStore, Room } from "../contract.ts";
import type { BusSettings } from "../settings.ts";
import type { Connection } from "./connection.ts";
import type { Patience, Stream } from "./stream.ts";
import type { Names } from "./subjects.ts";

const CHUNK_BYTES = 524_288;
/** Chunks read at once. */
const PAGE = 16;
/** Up to this many chunks are read one by one: more come sooner together, but through a consumer (`Stream.news`). */
const SINGLY = 2;

type Settings = Patience & Pick<BusSettings, "payloadBytesMax">;

/** An object of the bucket, as NATS object stores describe it. */
interface Description {
  readonly name: string;
  readonly bucket: string;
  /** The chunks lie under this id, so that two versions never mix. */
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly digest: string;
  readonly mtime: string;
}

/** A NATS object store: chunks, then the description that makes them an object. Readable with `nats object`. */
export class NatsPayloads implements PayloadStore {
  readonly #connection: Connection;
  readonly #stream: Stream;
  readonly #names: Names["payloads"];
  readonly #settings: Settings;

  constructor(connection: Connection, stream: Stream, names: Names["payloads"], settings: Settings) {
    this.#connection = connection;
    this.#stream = stream;
    this.#names = names;
    this.#settings = settings;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const { payloadBytesMax } = this.#settings;
    if (bytes.length > payloadBytesMax) throw new ServingError("TOO_LARGE", `a payload may have at most ${payloadBytesMax} bytes`);
    const before = await this.#describe(key);
    const description = this.#description(key, bytes);
    try {
      await this.#putChunks(this.#chunks(description), bytes);
      await this.#stream.put(this.#meta(key), Buffer.from(JSON.stringify(description)), { replace: true });
    } catch (thrown) {
      await this.#stream.purge(this.#chunks(description)).catch(() => {}); // or max_age removes them
      throw thrown;
    }
    if (before !== null) await this.#stream.purge(this.#chunks(before));
  }

  async get(key: string): Promise<Uint8Array | null> {
    const endMs = this.#settings.clock.monotonicMs() + this.#settings.answerMs;
    for (let tries = 0; ; tries++) {
      const description = await this.#describe(key);
      if (description === null) return null;
      const bytes = await this.#getChunks(description);
      if (bytes.length === description.size && digestOf(bytes) === description.digest) return bytes;
      // Replaced meanwhile, or read from a replica that lags: both pass.
      if (this.#settings.clock.monotonicMs() > endMs)
        throw new ServingError(
          "INTERNAL",
          `object ${key} of ${this.#names.bucket} is damaged; delete what it belongs to and submit it again`,
        );
      await new Pause().wait(this.#settings.clock, backoffMs(tries), this.#connection.closing);
    }
  }

  async delete(key: string): Promise<void> {
    const description = await this.#describe(key);
    if (description === null) return;
    await this.#stream.purge(this.#meta(key));
    await this.#stream.purge(this.#chunks(description));
  }

  room(): Promise<Room> {
    return this.#stream.room();
  }

  #meta(key: string): string {
    return `${this.#names.subject}.M.${Buffer.from(key).toString("base64url")}`;
  }

  #chunks({ nuid }: Description): string {
    return `${this.#names.subject}.C.${nuid}`;
  }

  #description(key: string, bytes: Uint8Array): Description {
    return {
      name: key,
      bucket: this.#names.bucket,
      nuid: this.#settings.random.id(""),
      size: bytes.length,
      chunks: Math.ceil(bytes.length / CHUNK_BYTES),
      digest: digestOf(bytes),
      mtime: new Date(this.#settings.clock.nowMs()).toISOString(),
    };
  }

  async #describe(key: string): Promise<Description | null> {
    const meta = await this.#stream.last(this.#meta(key));
    return meta === null ? null : (JSON.parse(Buffer.from(meta.bytes).toString("utf8")) as Description);
  }

  /** One after the other: all chunks have one subject, and their order is the order in which they arrive. */
  async #putChunks(subject: string, bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES) {
      await this.#stream.put(subject, bytes.subarray(offset, offset + CHUNK_BYTES));
    }
  }

  async #getChunks(description: Description): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let after = 0; parts.length < description.chunks; ) {
      const left = description.chunks - parts.length;
      const chunks = this.#chunks(description);
      const page = await (left > SINGLY ? this.#stream.page(chunks, after, PAGE) : this.#stream.news(chunks, after, left));
      for (const { bytes } of page) parts.push(bytes);
      const last = page.at(-1);
      if (last === undefined) break;
      after = last.sequence;
    }
    return Buffer.concat(parts);
  }
}

const digestOf = (bytes: Uint8Array): string => `SHA-256=${createHash("sha256").update(bytes).digest("base64url").padEnd(44, "=")}`;
