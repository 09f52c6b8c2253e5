/** Weights that any language can rebuild from their names (spec, Appendix A). */
export function generate(name: string, count: number, scale: number, offset = 0): Float32Array {
  const seed = fnv1a(name);
  return Float32Array.from({ length: count }, (_, i) => offset + scale * ((mix(seed + Math.imul(i, 0x9e3779b9)) >>> 8) / 8388608 - 1));
}

export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** The finaliser of murmur3. */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
