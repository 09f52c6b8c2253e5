import { crc32 } from "node:zlib";
import { ServingError } from "../runtime/errors.ts";
import type { SegmentKey, ValueHead } from "./contract.ts";
import { FORMAT_VERSION } from "./keys.ts";
import { type Sums, zlibSums } from "./sums.ts";

export const HEADER_BYTES = 136;
/** No value is larger: a size is checked against this before anything is allocated. */
export const VALUE_BYTES_MAX = 268_435_456;
const LAYOUT_BYTES = 32;
/** "LSKV", read as a number: writing four letters costs as much as writing eight numbers. */
const MAGIC = 0x564b534c;

/**
 * Why a stored value was refused. `header`: the header's own checksum. `size`: fewer or more bytes than the header
 * says.
 */
export type DamageReason = "magic" | "version" | "header" | "kind" | "key" | "fingerprint" | "layout" | "range" | "size" | "checksum";

/** What a good header says about the payload behind it. */
export interface Accepted {
  readonly payloadBytes: number;
  readonly payloadCrc: number;
}

/**
 * The 136 bytes in front of a payload (docs/formats.md). Throws INTERNAL if `head` cannot be encoded or the payload is
 * too large.
 */
export function encodeHeader(key: SegmentKey, head: ValueHead, payload: Uint8Array, sums: Sums = zlibSums): Buffer {
  if (payload.length > VALUE_BYTES_MAX)
    throw new ServingError("INTERNAL", `a value of ${payload.length} bytes: at most ${VALUE_BYTES_MAX}`);
  const header = expectedHeader(key, head);
  header.writeUInt32LE(payload.length, at.payloadBytes); // the upper half stays 0
  header.writeUInt32LE(sums.of(payload, 0), at.payloadCrc);
  header.writeUInt32LE(headerCrc(header), at.headerCrc);
  return header;
}

/** Compares a stored header with the one the reader expects. Returns the reason if they differ. */
export function acceptHeader(stored: Uint8Array, key: SegmentKey, head: ValueHead): Accepted | DamageReason {
  if (stored.length !== HEADER_BYTES) return "size";
  const header = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  const expected = expectedHeader(key, head);
  const differs = firstDifference(header, expected);
  if (differs === "magic" || differs === "version") return differs;
  if (header.readUInt32LE(at.headerCrc) !== headerCrc(header)) return "header";
  if (differs !== null) return differs;
  const payloadBytes = header.readUInt32LE(at.payloadBytes);
  if (header.readUInt32LE(at.payloadBytes + 4) !== 0 || payloadBytes > VALUE_BYTES_MAX) return "size";
  return { payloadBytes, payloadCrc: header.readUInt32LE(at.payloadCrc) };
}

/** The reason if a payload of this length and CRC-32 is not the one its header was written for. */
export function refusePayload(bytes: number, crc: number, accepted: Accepted): DamageReason | null {
  if (bytes !== accepted.payloadBytes) return "size";
  return crc === accepted.payloadCrc ? null : "checksum";
}

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

/** Fields whose bytes a reader knows beforehand, in order, each with the offset of its end. */
const known = [
  ["magic", at.version],
  ["version", at.kind],
  ["kind", at.key],
  ["key", at.fingerprint],
  ["fingerprint", at.layout],
  ["layout", at.range],
  ["range", at.payloadBytes],
] as const;

function firstDifference(header: Buffer, expected: Buffer): (typeof known)[number][0] | null {
  const same = (end: number) => header.compare(expected, 0, end, 0, end) === 0;
  if (same(at.payloadBytes)) return null;
  return known.find(([, end]) => !same(end))![0];
}

const headerCrc = (header: Buffer): number => crc32(header.subarray(0, at.headerCrc));

const kinds = { segment: 1, boundary: 2 } as const;

/** The header as far as it does not depend on the payload. */
function expectedHeader(key: SegmentKey, head: ValueHead): Buffer {
  if (head.fingerprint.length !== 32) throw new ServingError("INTERNAL", `a fingerprint of ${head.fingerprint.length} bytes: must be 32`);
  if (!/^[!-~]{1,32}$/.test(head.layout))
    throw new ServingError("INTERNAL", `layout "${head.layout}": must be 1 to ${LAYOUT_BYTES} visible ASCII characters`);
  const header = Buffer.allocUnsafe(HEADER_BYTES).fill(0); // from Node's pool: an allocation of its own costs more than all the rest here
  header.writeUInt32LE(MAGIC, at.magic);
  header.writeUInt16LE(FORMAT_VERSION, at.version);
  header.writeUInt16LE(kinds[head.kind], at.kind);
  header.write(key, at.key, "base64url");
  header.set(head.fingerprint, at.fingerprint);
  header.write(head.layout, at.layout, "latin1");
  header.writeUInt32LE(head.firstToken, at.range);
  header.writeUInt32LE(head.tokenCount, at.range + 4);
  header.writeUInt32LE(head.firstLayer, at.range + 8);
  header.writeUInt32LE(head.layerCount, at.range + 12);
  return header;
}
