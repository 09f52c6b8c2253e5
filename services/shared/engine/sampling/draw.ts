/**
 * The random number of one position of one job: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as
 * 1, 2, 3", SC11) with the seed as key and the position as counter. No state is carried from draw to draw, so a
 * takeover draws what its predecessor would have drawn.
 *
 * @param seed unsigned 64 bit
 * @param position of the token that is drawn, 0-based; below 2^53
 * @returns 64 random bits: word 1 and word 0 of the block
 */
export function drawBits(seed: bigint, position: number): bigint {
  const counter = [position >>> 0, Math.floor(position / 2 ** 32), 0, 0] as const;
  const [low, high] = philox(counter, [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))]);
  return (BigInt(high) << 32n) | BigInt(low);
}

type Block = readonly [number, number, number, number];

/** Ten rounds; words are unsigned 32 bit. */
export function philox(counter: Block, key: readonly [number, number]): Block {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1 >>> 0, (high0 ^ c3 ^ k1) >>> 0, low0 >>> 0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers; every intermediate value is exact in a double. */
function multiplyHigh(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + Math.floor((aLow * bLow) / 0x10000);
  return aHigh * bHigh + Math.floor((middle + aLow * bHigh) / 0x10000);
}
