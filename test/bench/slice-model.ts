import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseModelConfig } from "../../services/shared/engine/checkpoint/config.ts";
import { type InventoryItem, inventory } from "../../services/shared/engine/checkpoint/inventory.ts";
import type { StoredDtype } from "../../services/shared/engine/checkpoint/safetensors.ts";
import type { ModelConfig } from "../../services/shared/engine/model-config.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { headerOf, releasedConfig } from "../support/synthetic.ts";

/** V4-Flash with three layers, one of each kind, and a small vocabulary: all other dimensions are its own. */
export const sliceJson = {
  ...releasedConfig("configs/v4-flash.json"),
  num_hidden_layers: 3,
  compress_ratios: [0, 4, 128],
  num_hash_layers: 0,
  num_nextn_predict_layers: 0,
  vocab_size: 2_048,
};

export const sliceConfig: ModelConfig = parseModelConfig(sliceJson);

export const sliceFile = "model.safetensors";

/** Writes it to `dir`, 10 GB, with random weights that keep every activation finite; yields how much is written, 0 to 1. */
export function* writeSlice(dir: string): Generator<number> {
  const items = inventory(sliceConfig);
  const { header, dataBytes } = headerOf(items);
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(dir, "config.json"), JSON.stringify(sliceJson));
  const file = openSync(join(dir, sliceFile), "wx");
  try {
    writeSync(file, Buffer.concat([length, text]));
    let written = 0;
    for (const item of items) {
      for (const piece of piecesOf(item)) writeSync(file, piece);
      written += item.bytes;
      yield written / dataBytes;
    }
  } finally {
    closeSync(file);
  }
}

const BLOCK_BYTES = 4_194_304;

function* piecesOf({ dtype, bytes }: InventoryItem): Generator<Uint8Array> {
  const block = blockOf(dtype);
  for (let left = bytes; left > 0; left -= block.length) yield block.subarray(0, Math.min(left, block.length));
}

const blocks = new Map<StoredDtype, Uint8Array>();

/** The same random bytes again and again: no cache holds them, and nothing here looks for repetitions. */
function blockOf(dtype: StoredDtype): Uint8Array {
  const known = blocks.get(dtype);
  if (known !== undefined) return known;
  const random = seededRandom(1);
  const small = smallOf[dtype];
  if (small === undefined) throw new Error(`no released checkpoint holds ${dtype}`);
  const block = new Uint8Array(Uint32Array.from({ length: BLOCK_BYTES / 4 }, () => random.u32()).buffer).map(small);
  blocks.set(dtype, block);
  return block;
}

/** Makes small finite numbers of any bytes: below 2 in E4M3, 1/32 to 1/8 in bf16 and float32, scales of 2^-9 to 2^-6. */
const smallOf: Readonly<Partial<Record<StoredDtype, (byte: number, index: number) => number>>> = {
  F8_E4M3: (byte) => byte & 0xbf,
  F8_E8M0: (byte) => 118 + (byte & 3),
  I8: (byte) => byte,
  BF16: (byte, index) => (index % 2 === 1 ? 0x3d | (byte & 0x80) : byte),
  F32: (byte, index) => (index % 4 === 3 ? 0x3d | (byte & 0x80) : byte),
  I64: () => 0,
};

/** Bytes of weights that a step touches: all but the embedding, and of the routed experts as many as were `chosen` in each layer. */
export function weightBytes(chosen: readonly number[]): number {
  const items = inventory(sliceConfig).filter(({ name }) => !name.startsWith("embed."));
  const layerOf = (name: string) => /^layers\.(\d+)\.ffn\.experts\./.exec(name)?.[1];
  return items.reduce((sum, { name, bytes }) => {
    const layer = layerOf(name);
    return sum + (layer === undefined ? bytes : (bytes * chosen[Number(layer)]!) / sliceConfig.experts);
  }, 0);
}
