import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseModelConfig } from "../../services/shared/engine/checkpoint/config.ts";
import { type InventoryItem, inventory } from "../../services/shared/engine/checkpoint/inventory.ts";
import { packageRoot } from "../../services/shared/runtime/package-root.ts";

export type Header = Record<string, { dtype: string; shape: readonly number[]; data_offsets: [number, number] }>;

/** config.json of a released model, as it ships in deploy/models. */
export function releasedConfig(name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(packageRoot(), "deploy", "models", name), "utf8"));
}

/** A folder that is gone when `use` is done. */
export function inFolder<T>(use: (dir: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), "longshore-checkpoint-"));
  try {
    return use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * A checkpoint with every header of the real one and no data: sparse files that take no room. `written`: the
 * config.json that lies beside them.
 */
export function writeSynthetic(dir: string, config: Record<string, unknown>, shardCount: number, written = config): void {
  const shards = splitEvenly(inventory(parseModelConfig(config)), shardCount);
  const name = (shard: number) =>
    shardCount === 1
      ? "model.safetensors"
      : `model-${String(shard + 1).padStart(5, "0")}-of-${String(shardCount).padStart(5, "0")}.safetensors`;
  const weightMap: Record<string, string> = {};
  for (const [i, items] of shards.entries()) {
    const { header, dataBytes } = headerOf(items);
    writeSparse(join(dir, name(i)), JSON.stringify(header), dataBytes);
    for (const item of items) weightMap[item.name] = name(i);
  }
  writeFileSync(join(dir, "config.json"), JSON.stringify(written));
  if (shardCount > 1) writeFileSync(join(dir, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

/** Contiguous runs of tensors with about the same number of bytes each. */
function splitEvenly(items: readonly InventoryItem[], count: number): InventoryItem[][] {
  const total = items.reduce((sum, { bytes }) => sum + bytes, 0);
  const shards = Array.from({ length: count }, (): InventoryItem[] => []);
  let before = 0;
  for (const item of items) {
    shards[Math.min(count - 1, Math.floor((before * count) / total))]!.push(item);
    before += item.bytes;
  }
  return shards;
}

export function headerOf(items: readonly InventoryItem[]): { readonly header: Header; readonly dataBytes: number } {
  const header: Header = {};
  let end = 0;
  for (const { name, dtype, shape, bytes } of items) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  return { header, dataBytes: end };
}

/** A safetensors file with this header and `dataBytes` zeros that are not on the disk. */
export function writeSparse(path: string, header: string, dataBytes: number): void {
  const text = Buffer.from(header);
  const file = openSync(path, "w");
  try {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    writeSync(file, length);
    writeSync(file, text);
    ftruncateSync(file, 8 + text.length + dataBytes);
  } finally {
    closeSync(file);
  }
}

/** Writes a shard again with its header edited. Its data stays zeros. */
export function editHeader(path: string, edit: (header: Header) => void): void {
  rewriteHeader(path, (text) => {
    const header = JSON.parse(text) as Header;
    edit(header);
    return JSON.stringify(header);
  });
}

export function rewriteHeader(path: string, rewrite: (text: string) => string): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  writeSparse(path, rewrite(bytes.toString("utf8", 8, 8 + length)), bytes.length - 8 - length);
}
