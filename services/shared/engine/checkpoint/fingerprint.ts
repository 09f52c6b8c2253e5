import { createHash, type Hash } from "node:crypto";
import { closeSync, existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { isFields } from "../../runtime/json.ts";
import { readJson } from "./json-files.ts";
import { openFile, readInto, type Shard } from "./safetensors.ts";

/**
 * 32 bytes that stand for a checkpoint in every segment key: SHA-256 over these parts, each led by its length as u64
 * little-endian:
 *
 *   "longshore fingerprint 1"
 *   config.json as JSON with sorted keys and no white space
 *   tokenizer.json as it is; empty if there is none
 *   per shard, in the order of file names:   its header's JSON as it is
 *     per tensor, in the order of its data:    up to 192 bytes, all of it; else three parts: its first 64 bytes,
 *                                              64 from floor(bytes / 2) on, its last 64
 *
 * A change elsewhere in a large tensor goes unseen: this tells models apart, it does not audit a download. Blocks while
 * it reads.
 */
export function fingerprint({ dir, shards }: { readonly dir: string; readonly shards: readonly Shard[] }): Uint8Array {
  const hash = createHash("sha256");
  const tokenizer = join(dir, "tokenizer.json");
  part(hash, "longshore fingerprint 1");
  part(hash, canonicalJson(readJson(join(dir, "config.json"))));
  part(hash, existsSync(tokenizer) ? readFileSync(tokenizer) : "");
  for (const shard of [...shards].sort(byFileName)) {
    part(hash, shard.header);
    sampleTensors(hash, shard);
  }
  return hash.digest();
}

const SAMPLE_BYTES = 64;
const LENGTH_BYTES = 8;

function sampleTensors(hash: Hash, { path, tensors }: Shard): void {
  const parts = Buffer.alloc(3 * (LENGTH_BYTES + SAMPLE_BYTES));
  const file = openFile(path);
  try {
    for (const { offset, bytes } of tensors) {
      let end = 0;
      for (const [at, count] of samples(bytes)) {
        end = parts.writeBigUInt64LE(BigInt(count), end);
        readInto(parts.subarray(end, end + count), file, offset + at, path);
        end += count;
      }
      hash.update(parts.subarray(0, end));
    }
  } finally {
    closeSync(file);
  }
}

/** The parts of a tensor of `bytes` bytes that are hashed: [start, length]. */
const samples = (bytes: number): readonly (readonly [number, number])[] =>
  bytes <= 3 * SAMPLE_BYTES
    ? [[0, bytes]]
    : [
        [0, SAMPLE_BYTES],
        [Math.floor(bytes / 2), SAMPLE_BYTES],
        [bytes - SAMPLE_BYTES, SAMPLE_BYTES],
      ];

function part(hash: Hash, bytes: Uint8Array | string): void {
  const data = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(data.length));
  hash.update(length).update(data);
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!isFields(value)) return JSON.stringify(value);
  const pairs = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`);
  return `{${pairs.join(",")}}`;
}

const byFileName = (a: Shard, b: Shard) => (basename(a.path) < basename(b.path) ? -1 : 1);
