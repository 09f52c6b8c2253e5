import { randomBytes } from "node:crypto";

/** Randomness for ids and seeds, passed in like time. In the simulator all of it follows from one seed. */
export interface Random {
  /** Uniform in [0, 2^32). */
  u32(): number;
  /** `prefix` and 20 characters of [0-9a-z]: about 103 bits, enough never to collide. */
  id(prefix: string): string;
}

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

const idFrom = (u32: () => number, prefix: string): string => {
  let text = prefix;
  for (let i = 0; i < 20; i++) text += ALPHABET[u32() % 36];
  return text;
};

/** Bytes drawn from the system at once: a call for each number costs as much as a request to the record. */
const POOL_BYTES = 4_096;
let pool: Buffer = Buffer.alloc(0);
let used = 0;

function systemU32(): number {
  if (used === pool.length) {
    pool = randomBytes(POOL_BYTES);
    used = 0;
  }
  used += 4;
  return pool.readUInt32LE(used - 4);
}

export const systemRandom: Random = { u32: systemU32, id: (prefix) => idFrom(systemU32, prefix) };

/** Bytes that cannot be guessed, for keys. */
export const secretBytes = (count: number): Buffer => randomBytes(count);

/** The whole stream follows from `seed` (splitmix32). Not for keys or secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const u32 = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  return { u32, id: (prefix) => idFrom(u32, prefix) };
}
