import { crc32 as zlibCrc32 } from "node:zlib";

/** CRC-32 as in zlib: most of what a store computes. An implementation faster than zlib's may be passed in. */
export interface Sums {
  /** The CRC-32 of what `before` is the sum of (0: nothing), followed by `bytes`. */
  of(bytes: Uint8Array, before: number): number;
  /** Copies `count` bytes of `from`, from `begin` on, to `at` in `to`, and continues `before` over them. */
  copy(to: Uint8Array, at: number, from: Uint8Array, begin: number, count: number, before: number): number;
}

export const zlibSums: Sums = {
  of: (bytes, before) => zlibCrc32(bytes, before),
  copy(to, at, from, begin, count, before) {
    const bytes = from.subarray(begin, begin + count);
    to.set(bytes, at);
    return zlibCrc32(bytes, before);
  },
};

/**
 * The CRC-32 of two adjacent spans from theirs. CRCs are linear in the data, so `first` is continued over `secondBytes`
 * zero bytes, at most 2^31 - 1, which multiply it by x^(8 x secondBytes), and `second` is added.
 */
export function sumOfBoth(first: number, second: number, secondBytes: number): number {
  let shifted = first;
  for (let bit = 0; secondBytes >> bit > 0; bit++) {
    if ((secondBytes >> bit) & 1) shifted = product(shifted, ZEROS[bit]!);
  }
  return (shifted ^ second) >>> 0;
}

/** Polynomials over two elements, reflected: bit 31 is the coefficient of x^0. */
const POLYNOMIAL = 0xedb88320;
const X_TO_THE_8 = 0x00800000;

/** Factors of 1, 2, 4, 8, ... zero bytes. */
const ZEROS: number[] = [];
for (let power = X_TO_THE_8; ZEROS.length < 31; power = product(power, power)) ZEROS.push(power);

/** The product of two polynomials, modulo that of CRC-32. */
function product(a: number, b: number): number {
  let sum = 0;
  for (let factor = b, left = a | 0; left !== 0; left <<= 1) {
    if (left < 0) sum ^= factor;
    factor = (factor >>> 1) ^ (factor & 1 ? POLYNOMIAL : 0);
  }
  return sum;
}
