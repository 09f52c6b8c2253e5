import { hash } from "node:crypto";
import type { SegmentKey } from "./contract.ts";

/**
 * Version of keys and values. Raised when either format changes: it is part of every key, so old and new values never
 * meet.
 */
export const FORMAT_VERSION = 2;

/** Everything but the tokens that stored rows depend on. Two spaces that differ in any field share no key. */
export interface KeySpace {
  /** 32 bytes over the model (EngineInfo.fingerprint). */
  readonly fingerprint: Uint8Array;
  /** EngineInfo.kvLayout. */
  readonly layout: string;
  readonly firstLayer: number;
  readonly layerCount: number;
  /** The tenant's salt: without it nobody can name the tenant's keys, nor learn by timing that they exist (I10). */
  readonly salt: string;
  /** The kernel path where equal bits are promised across the cluster (strict_numerics), else null. */
  readonly path: string | null;
}

/**
 * The key of the segment of `ids`, the tokens after the segment named by `parent` (null: the first). The keys of a
 * million tokens take about 30 ms.
 */
export function nextSegmentKey(space: KeySpace, parent: SegmentKey | null, ids: Int32Array): SegmentKey {
  return digest("segment", parentDigest(space, parent), bytesOf(ids)) as SegmentKey;
}

/**
 * The key of the boundary at `position`: after the segment named by `parent` (null: none) and the `tailIds` that follow
 * it. Segment and boundary keys never meet, whatever the ids.
 */
export function boundaryKey(space: KeySpace, parent: SegmentKey | null, tailIds: Int32Array, position: number): SegmentKey {
  return digest("boundary", parentDigest(space, parent), u32(position), bytesOf(tailIds)) as SegmentKey;
}

/** The 32 bytes that a key encodes. */
const keyDigest = (key: SegmentKey): Uint8Array => Buffer.from(key, "base64url");

/** The first key of a chain has the space as its parent, every other the key before it. */
const parentDigest = (space: KeySpace, parent: SegmentKey | null): Uint8Array => (parent === null ? spaceDigest(space) : keyDigest(parent));

function spaceDigest(space: KeySpace): Uint8Array {
  const known = spaceDigests.get(space);
  if (known !== undefined) return known;
  const { fingerprint, layout, firstLayer, layerCount, salt, path } = space;
  const fields = ["space", u32(FORMAT_VERSION), fingerprint, layout, u32(firstLayer, layerCount), salt, ...(path === null ? [] : [path])];
  const made = Buffer.from(digest(...fields), "base64url");
  spaceDigests.set(space, made);
  return made;
}

/**
 * Kept because a short job asks for the keys of a few boundaries, all of which have the space itself as their parent.
 */
const spaceDigests = new WeakMap<KeySpace, Uint8Array>();

/**
 * SHA-256 over the fields, in base64url. Each field is preceded by its length in bytes as u32le, so that no two lists
 * of fields give the same bytes.
 */
function digest(...fields: readonly (string | Uint8Array)[]): string {
  const bytes = fields.reduce((sum, field) => sum + 4 + Buffer.byteLength(field), 0);
  const all = bytes <= scratch.length ? scratch.subarray(0, bytes) : Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const field of fields) {
    at = all.writeUInt32LE(Buffer.byteLength(field), at);
    if (typeof field === "string") all.write(field, at);
    else all.set(field, at);
    at += Buffer.byteLength(field);
  }
  return hash("sha256", all, "base64url");
}

/** Fields are gathered here: a buffer of its own for every key takes half as long as hashing it. */
const scratch = Buffer.allocUnsafeSlow(8_192);

function u32(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i);
  return bytes;
}

/** Every processor we run on is little-endian, so ids lie as i32le already. */
const bytesOf = (ids: Int32Array): Uint8Array => new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);
