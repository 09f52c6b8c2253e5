import { createHash } from "node:crypto";
import { systemClock } from "../../services/shared/runtime/clock.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import type { Memory } from "../../services/shared/runtime/memory.ts";
import { systemRandom } from "../../services/shared/runtime/random.ts";
import type { SegmentKey, ValueHead } from "../../services/shared/segments/contract.ts";
import { type KeySpace, nextSegmentKey } from "../../services/shared/segments/keys.ts";
import { RedisStore, type RedisStoreOptions } from "../../services/shared/segments/redis/store.ts";

/** A key, its head and a payload, all decided by `name`. */
export interface Sample {
  readonly key: SegmentKey;
  readonly head: ValueHead;
  readonly payload: Buffer;
}

const sha = (text: string) => createHash("sha256").update(text).digest();

export function sample(name: string, bytes: number, kind: ValueHead["kind"] = "segment"): Sample {
  const firstToken = sha(name).readUInt16LE(0) * 128;
  const head = { kind, fingerprint: sha("model"), layout: "e4m3-bf16", firstToken, tokenCount: 128, firstLayer: 0, layerCount: 4 };
  const payload = Buffer.alloc(bytes, sha(name));
  for (let at = 0; at < bytes; at += 4_096) payload[at] = at / 4_096;
  return { key: sha(`key ${name}`).toString("base64url") as SegmentKey, head, payload };
}

/** The keys of the whole segments of `ids`, in order. */
export function segmentKeys(space: KeySpace, ids: Int32Array, segmentTokens: number): SegmentKey[] {
  const keys: SegmentKey[] = [];
  for (let end = segmentTokens; end <= ids.length; end += segmentTokens) {
    keys.push(nextSegmentKey(space, keys.at(-1) ?? null, ids.subarray(end - segmentTokens, end)));
  }
  return keys;
}

const RELEASED = 0xdd;

/**
 * Allocates like an engine, and knows whether everything came back exactly once and nothing was written to it
 * afterwards.
 */
export class Ledger {
  allocated = 0;
  releasedTwice = 0;
  readonly #released: Uint8Array[] = [];

  readonly allocate = (size: number): Memory => {
    const bytes = new Uint8Array(size);
    let live = true;
    this.allocated++;
    const release = () => {
      if (live) this.#released.push(bytes.fill(RELEASED));
      else this.releasedTwice++;
      live = false;
    };
    return { bytes, release };
  };

  get balanced(): boolean {
    const untouched = this.#released.every((bytes) => bytes.every((byte) => byte === RELEASED));
    return this.allocated === this.#released.length && this.releasedTwice === 0 && untouched;
  }
}

export const redisStore = (url: string, options: Partial<RedisStoreOptions> = {}): RedisStore =>
  new RedisStore({
    url,
    prefix: "test",
    connections: 2,
    pieceBytes: 65_536,
    timeoutMs: 5_000,
    ttlMs: { segment: 60_000, boundary: 1_000 },
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    ...options,
  });
