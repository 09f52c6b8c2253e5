import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import type { ValueHead } from "../../../../services/shared/segments/contract.ts";
import { acceptHeader, encodeHeader, HEADER_BYTES, refusePayload, VALUE_BYTES_MAX } from "../../../../services/shared/segments/format.ts";
import { zlibSums } from "../../../../services/shared/segments/sums.ts";
import { head, hexDump, keys, payload } from "./example.ts";

const key = keys[1]!;
const header = encodeHeader(key, head, payload);

/** A header changed on purpose, by somebody who also mends its checksum. */
function forged(change: (header: Buffer) => void): Buffer {
  const copy = Buffer.from(header);
  change(copy);
  copy.writeUInt32LE(crc32(copy.subarray(0, HEADER_BYTES - 4)), HEADER_BYTES - 4);
  return copy;
}

test("header and payload of the worked example are the bytes in docs/formats.md", () => {
  const text = readFileSync("docs/formats.md", "utf8");
  expect(header).toHaveLength(HEADER_BYTES);
  expect(text).toContain(hexDump(header));
  expect(text).toContain(hexDump(payload).replace("0000", "0088"));
});

test("what was written is accepted", () => {
  expect(acceptHeader(header, key, head)).toEqual({ payloadBytes: payload.length, payloadCrc: crc32(payload) });
});

test("every flipped bit of a header is refused, even where its own checksum is flipped", () => {
  for (let bit = 0; bit < 8 * HEADER_BYTES; bit++) {
    const copy = Buffer.from(header);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    expect(acceptHeader(copy, key, head), `bit ${bit}`).toBe(bit < 32 ? "magic" : bit < 48 ? "version" : "header");
  }
});

test("a header of another length is refused", () => {
  for (const length of [0, 1, HEADER_BYTES - 1]) expect(acceptHeader(header.subarray(0, length), key, head)).toBe("size");
  expect(acceptHeader(Buffer.concat([header, Buffer.alloc(1)]), key, head)).toBe("size");
});

test("a good header of something else is refused by name", () => {
  const other = (change: Partial<ValueHead>) => acceptHeader(header, key, { ...head, ...change });
  expect(other({ kind: "boundary" })).toBe("kind");
  expect(other({ fingerprint: new Uint8Array(32) })).toBe("fingerprint");
  expect(other({ layout: "exampl" })).toBe("layout");
  expect(other({ layout: "example2" })).toBe("layout");
  expect(other({ firstToken: 0 })).toBe("range");
  expect(other({ tokenCount: 8 })).toBe("range");
  expect(other({ firstLayer: 1 })).toBe("range");
  expect(other({ layerCount: 2 })).toBe("range");
  expect(acceptHeader(header, keys[0]!, head)).toBe("key");
});

test("a size is bounded before anybody allocates it", () => {
  const sized = (bytes: bigint) =>
    acceptHeader(
      forged((copy) => copy.writeBigUInt64LE(bytes, 120)),
      key,
      head,
    );
  expect(sized(BigInt(VALUE_BYTES_MAX))).toMatchObject({ payloadBytes: VALUE_BYTES_MAX });
  expect(sized(BigInt(VALUE_BYTES_MAX) + 1n)).toBe("size");
  expect(sized(2n ** 64n - 1n)).toBe("size");
  expect(sized(2n ** 32n + 5n)).toBe("size");
});

test("a payload that no reader would accept is not written down", () => {
  const sums = { ...zlibSums, of: () => 0 };
  expect(encodeHeader(key, head, new Uint8Array(VALUE_BYTES_MAX), sums)).toHaveLength(HEADER_BYTES);
  expect(() => encodeHeader(key, head, new Uint8Array(VALUE_BYTES_MAX + 1), sums)).toThrow("at most 268435456");
});

test("a payload that is not the header's is refused", () => {
  const accepted = { payloadBytes: payload.length, payloadCrc: crc32(payload) };
  expect(refusePayload(payload.length, crc32(payload), accepted)).toBeNull();
  expect(refusePayload(payload.length - 1, crc32(payload), accepted)).toBe("size");
  for (let bit = 0; bit < 8 * payload.length; bit++) {
    const copy = Buffer.from(payload);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    expect(refusePayload(copy.length, crc32(copy), accepted)).toBe("checksum");
  }
});

test("a head that cannot be written down is our own mistake", () => {
  expect(() => encodeHeader(key, { ...head, layout: "" }, payload)).toThrow("1 to 32 visible ASCII");
  expect(() => encodeHeader(key, { ...head, layout: "x".repeat(33) }, payload)).toThrow("1 to 32 visible ASCII");
  expect(() => encodeHeader(key, { ...head, fingerprint: new Uint8Array(31) }, payload)).toThrow("must be 32");
});
