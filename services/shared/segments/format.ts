import { crc32 } from "node:zlib";
import { ServingError } from "../runtime/errors.ts";
import type { SegmentKey, ValueHead } from "./contract.ts";
import { FORMAT_VERSION, keyDigest } from "./keys.ts";

export const HEADER_BYTES = 136;
/** No value is larger: a size is checked against this before anything is allocated. */
export const VALUE_BYTES_MAX = 268_435_456;
const LAYOUT_BYTES = 32;

/** Why a stored value was refused. `header`: the header's own checksum. `size`: fewer or more bytes than the header says. */
export const damageReasons = ["magic", "version", "header", "kind", "key", "fingerprint", "layout", "range", "size", "checksum"] as const;
export type DamageReason = (typeof damageReasons)[number];

/** What a good header says about the payload behind it. */
export interface Accepted {
  readonly payloadBytes: number;
  readonly payloadCrc: number;
}

/** The 136 bytes in front of a payload (docs/formats.md). INTERNAL if `head` cannot be written down or the payload is too large. */
export function encodeHeader(key: SegmentKey, head: ValueHead, payload: Uint8Array): Buffer {
  if (payload.length > VALUE_BYTES_MAX)
    throw new ServingError("INTERNAL", `a value of ${payload.length} bytes: at most ${VALUE_BYTES_MAX}`);
  const header = expectedHeader(key, head);
  header.writeBigUInt64LE(BigInt(payload.length), at.payloadBytes);
  header.writeUInt32LE(crc32(payload), at.payloadCrc);
  header.writeUInt32LE(crc32(header.subarray(0, at.headerCrc)), at.headerCrc);
  return header;
}

/** Compares a stored header with what the reader asked for; the reason if it is not exactly that. */
export function acceptHeader(stored: Uint8Array, key: SegmentKey, head: ValueHead): Accepted | DamageReason {
  if (stored.length !== HEADER_BYTES) return "size";
  const header = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  const expected = expectedHeader(key, head);
  const same = (from: number, to: number) => header.subarray(from, to).equals(expected.subarray(from, to));
  if (!same(at.magic, at.version)) return "magic";
  if (!same(at.version, at.kind)) return "version";
  if (header.readUInt32LE(at.headerCrc) !== crc32(header.subarray(0, at.headerCrc))) return "header";
  if (!same(at.kind, at.key)) return "kind";
  if (!same(at.key, at.fingerprint)) return "key";
  if (!same(at.fingerprint, at.layout)) return "fingerprint";
  if (!same(at.layout, at.range)) return "layout";
  if (!same(at.range, at.payloadBytes)) return "range";
  const payloadBytes = header.readBigUInt64LE(at.payloadBytes);
  if (payloadBytes > VALUE_BYTES_MAX) return "size";
  return { payloadBytes: Number(payloadBytes), payloadCrc: header.readUInt32LE(at.payloadCrc) };
}

/** The reason if the payload is not the one its header was written for. */
export function refusePayload(payload: Uint8Array, accepted: Accepted): DamageReason | null {
  if (payload.length !== accepted.payloadBytes) return "size";
  return crc32(payload) === accepted.payloadCrc ? null : "checksum";
}

/** What a stored header says without being believed: for those who clean up. At most VALUE_BYTES_MAX. */
export const statedPayloadBytes = (stored: Buffer): number =>
  stored.length === HEADER_BYTES ? Math.min(Number(stored.readBigUInt64LE(at.payloadBytes)), VALUE_BYTES_MAX) : 0;

const at = {
  magic: 0,
  version: 4,
  kind: 6,
  key: 8,
  fingerprint: 40,
  layout: 72,
  range: 104,
  payloadBytes: 120,
  payloadCrc: 128,
  headerCrc: 132,
} as const;

const kinds = { segment: 1, boundary: 2 } as const;

/** The header as far as it does not depend on the payload. */
function expectedHeader(key: SegmentKey, head: ValueHead): Buffer {
  if (head.fingerprint.length !== 32) throw new ServingError("INTERNAL", `a fingerprint of ${head.fingerprint.length} bytes: must be 32`);
  if (!/^[!-~]{1,32}$/.test(head.layout))
    throw new ServingError("INTERNAL", `layout "${head.layout}": must be 1 to ${LAYOUT_BYTES} visible ASCII characters`);
  const header = Buffer.alloc(HEADER_BYTES);
  header.write("LSKV", at.magic, "latin1");
  header.writeUInt16LE(FORMAT_VERSION, at.version);
  header.writeUInt16LE(kinds[head.kind], at.kind);
  header.set(keyDigest(key), at.key);
  header.set(head.fingerprint, at.fingerprint);
  header.write(head.layout, at.layout, "latin1");
  const range = [head.firstToken, head.tokenCount, head.firstLayer, head.layerCount];
  for (const [index, value] of range.entries()) header.writeUInt32LE(value, at.range + 4 * index);
  return header;
}
