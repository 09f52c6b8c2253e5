import { readFileSync } from "node:fs";

export interface GoldenTensor {
  readonly shape: readonly number[];
  /** I64 as numbers, BF16 as the floats it stands for. */
  readonly values: Float32Array;
}

/** Every F32, BF16 and I64 tensor of a small safetensors file, as floats. Ids are far below 2^24. */
export function readSafetensors(path: string): ReadonlyMap<string, GoldenTensor> {
  const file = readFileSync(path);
  const headerEnd = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, headerEnd)) as Record<string, Entry>;
  const tensors = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return new Map(
    tensors.map(([name, { dtype, shape, data_offsets: span }]) => {
      const bytes = Uint8Array.from(file.subarray(headerEnd + span[0], headerEnd + span[1])).buffer;
      return [name, { shape, values: readers[dtype](bytes) }];
    }),
  );
}

interface Entry {
  readonly dtype: keyof typeof readers;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

const readers = {
  F32: (bytes: ArrayBuffer) => new Float32Array(bytes),
  BF16: (bytes: ArrayBuffer) => new Float32Array(new Uint32Array(new Uint16Array(bytes)).map((bits) => bits << 16).buffer),
  I64: (bytes: ArrayBuffer) => Float32Array.from(new BigInt64Array(bytes), Number),
};
