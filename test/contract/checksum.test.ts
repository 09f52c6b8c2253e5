import { crc32 as zlibCrc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { nativeCrc32 } from "../../services/shared/engine/kernels.ts";
import { acceptHeader, encodeHeader, refusePayload } from "../../services/shared/segments/format.ts";
import { sample } from "../support/segments.ts";

const crc32 = nativeCrc32();

test.skipIf(crc32 === null)("the kernels' CRC-32 is zlib's, whatever the length and where the bytes begin", () => {
  const bytes = Buffer.alloc(1_100_000);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(zlibCrc32(bytes.subarray(Math.max(0, at - 8), at)), at);
  const length = fc.oneof(fc.integer({ min: 0, max: 600 }), fc.integer({ min: 0, max: 1_000_000 }));
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 300 }), length, (from, size) => {
      const span = bytes.subarray(from, from + size);
      expect(crc32!(span)).toBe(zlibCrc32(span));
    }),
    { numRuns: 500 },
  );
});

test.skipIf(crc32 === null)("what is no byte array has no sum", () => {
  for (const wrong of [null, "bytes", [1, 2], new Float32Array(2), new ArrayBuffer(4)])
    expect(() => crc32!(wrong as unknown as Uint8Array), String(wrong)).toThrow("must be a Uint8Array");
});

test.skipIf(crc32 === null)("a value written with one sum is read with the other", () => {
  const { key, head, payload } = sample("both", 52_000);
  const sums = [zlibCrc32, crc32!];
  for (const write of sums) {
    for (const read of sums) {
      const accepted = acceptHeader(encodeHeader(key, head, payload, write), key, head);
      if (typeof accepted === "string") throw new Error(accepted);
      expect(refusePayload(payload, accepted, read)).toBeNull();
    }
  }
});
