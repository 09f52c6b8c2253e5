import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nativeSums } from "../../services/shared/engine/kernels.ts";
import { acceptHeader, encodeHeader, refusePayload } from "../../services/shared/segments/format.ts";
import { sumOfBoth, zlibSums } from "../../services/shared/segments/sums.ts";
import { sample } from "../support/segments.ts";

const native = nativeSums();
const bytes = Buffer.alloc(1_100_000);
for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(crc32(bytes.subarray(Math.max(0, at - 8), at)), at);
const length = fc.oneof(fc.integer({ min: 0, max: 600 }), fc.integer({ min: 0, max: 1_000_000 }));
const offset = fc.integer({ min: 0, max: 300 });

const all = [["zlib's", zlibSums], ...(native === null ? [] : [["the kernels'", native] as const])] as const;

describe.each(all)("%s", (_, sums) => {
  test("the sum is CRC-32, whatever the length and where the bytes begin", () => {
    fc.assert(
      fc.property(offset, length, fc.nat({ max: 0xffffffff }), (from, size, before) => {
        const span = bytes.subarray(from, from + size);
        expect(sums.of(span, 0)).toBe(crc32(span));
        expect(sums.of(span, before)).toBe(crc32(span, before));
      }),
      { numRuns: 500 },
    );
  });

  test("a copy is those bytes and no others, and its sum goes on from what was before", () => {
    const to = Buffer.alloc(bytes.length + 700);
    fc.assert(
      fc.property(offset, offset, length, fc.nat({ max: 0xffffffff }), (at, begin, count, before) => {
        to.fill(0xa5, 0, at + count + 300);
        const from = bytes.subarray(begin, begin + count);
        expect(sums.copy(to, at, bytes, begin, count, before)).toBe(crc32(from, before));
        expect(from.equals(to.subarray(at, at + count))).toBe(true);
        const around = [to.subarray(0, at), to.subarray(at + count, at + count + 300)];
        for (const margin of around) expect(margin.every((byte) => byte === 0xa5)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

test.skipIf(native === null)("a span outside its array is refused, and nothing is copied", () => {
  const to = new Uint8Array(10);
  for (const [at, begin, count] of [
    [0, 0, 11],
    [1, 0, 10],
    [11, 0, 0],
    [0, bytes.length - 9, 10],
    [0, -1, 1],
    [0.5, 0, 1],
    [0, Number.NaN, 1],
  ] as const)
    expect(() => native!.copy(to, at, bytes, begin, count, 0), `${at} ${begin} ${count}`).toThrow();
  expect(() => native!.copy(to, 0, bytes, 0, 1, 2 ** 32)).toThrow();
  expect(to).toEqual(new Uint8Array(10));
});

test.skipIf(native === null)("numbers that are none are refused, wherever they stand, and nobody is asked for their value", () => {
  const to = new Uint8Array(10);
  const asked = { valueOf: () => expect.fail("asked") };
  const wrong = [Number.NaN, -1, 0.5, 2 ** 53, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, "1", 1n, true, null, undefined, asked];
  for (const position of [1, 3, 4, 5]) {
    for (const value of wrong) {
      const args: unknown[] = [to, 0, bytes, 0, 1, 0];
      args[position] = value;
      expect(() => (native!.copy as (...args: unknown[]) => number)(...args), `argument ${position}`).toThrow(
        expect.objectContaining({ code: "LS_INVALID" }),
      );
    }
  }
  expect(to).toEqual(new Uint8Array(10));
});

test.skipIf(native === null)("an array has the bytes that it has now: moved elsewhere none, shrunk fewer, shared all", () => {
  const moved = new Uint8Array(100);
  structuredClone(moved.buffer, { transfer: [moved.buffer] });
  const shrinking = Reflect.construct(ArrayBuffer, [100, { maxByteLength: 200 }]) as ArrayBuffer & { resize(bytes: number): void };
  const [tracking, fixed, behind] = [new Uint8Array(shrinking), new Uint8Array(shrinking, 0, 100), new Uint8Array(shrinking, 90)];
  shrinking.resize(5);
  for (const array of [moved, tracking, fixed, behind]) {
    expect(native!.of(array, 0)).toBe(crc32(new Uint8Array(array.length)));
    expect(() => native!.copy(array, 0, bytes, 0, 6, 0)).toThrow("ends outside its array");
    expect(() => native!.copy(new Uint8Array(6), 0, array, 0, 6, 0)).toThrow("ends outside its array");
  }
  const shared = new Uint8Array(new SharedArrayBuffer(10));
  expect(native!.copy(shared, 5, bytes, 0, 5, 0)).toBe(crc32(bytes.subarray(0, 5)));
  expect(Buffer.from(shared.slice(5))).toEqual(bytes.subarray(0, 5));
});

test.skipIf(native === null)("what is no byte array has no sum, and overlapping spans no copy", () => {
  for (const wrong of [null, "bytes", [1, 2], new Float32Array(2), new ArrayBuffer(4)]) {
    expect(() => native!.of(wrong as unknown as Uint8Array, 0), String(wrong)).toThrow("must be a Uint8Array");
    expect(() => native!.copy(wrong as unknown as Uint8Array, 0, bytes, 0, 1, 0), String(wrong)).toThrow("must be a Uint8Array");
  }
  expect(() => native!.copy(bytes, 10, bytes, 0, 11, 0)).toThrow("overlap");
  expect(() => native!.copy(bytes, 0, bytes, 10, 11, 0)).toThrow("overlap");
});

test("two sums make the sum of both", () => {
  fc.assert(
    fc.property(offset, length, length, (from, first, second) => {
      const [a, b] = [bytes.subarray(from, from + first), bytes.subarray(from + first, from + first + second)];
      expect(sumOfBoth(crc32(a), crc32(b), b.length)).toBe(crc32(bytes.subarray(from, from + first + b.length)));
    }),
    { numRuns: 500 },
  );
  expect(sumOfBoth(0xffffffff, 0, 2 ** 28)).toBe(sumOfBoth(sumOfBoth(0xffffffff, 0, 2 ** 27), 0, 2 ** 27));
});

test.skipIf(native === null)("a value written with one sum is read with the other", () => {
  const { key, head, payload } = sample("both", 52_000);
  for (const [write, read] of [
    [zlibSums, native!],
    [native!, zlibSums],
  ] as const) {
    const accepted = acceptHeader(encodeHeader(key, head, payload, write), key, head);
    if (typeof accepted === "string") throw new Error(accepted);
    expect(refusePayload(payload.length, read.of(payload, 0), accepted)).toBeNull();
  }
});
