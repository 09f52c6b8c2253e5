/**
 * Paths that give the same bits, since they are one source compiled for several processors; the first runs everywhere,
 * slowly.
 */
export const orders: readonly (readonly [twin: string, ...natives: string[]])[] = [
  ["portable", "neon", "avx2", "avx512"],
  ["portablebf16", "avx512bf16"],
  ["portableamx", "amx"],
];

export const isTwin = (path: string): boolean => orders.some(([twin]) => twin === path);

/**
 * For a software twin, a native path among `available` that gives its bits (test/contract/kernels.test.ts compares
 * them); else undefined.
 */
export const nativeOf = (path: string, available: readonly string[]): string | undefined =>
  orders.find(([twin]) => twin === path)?.findLast((name) => name !== path && available.includes(name));
