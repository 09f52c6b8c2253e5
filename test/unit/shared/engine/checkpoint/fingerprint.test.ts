import { createHash } from "node:crypto";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, test } from "vitest";
import { fingerprint } from "../../../../../services/shared/engine/checkpoint/fingerprint.ts";
import { openCheckpoint } from "../../../../../services/shared/engine/checkpoint/open.ts";
import { inFolder } from "../../../../support/synthetic.ts";

const yardlog = fileURLToPath(new URL("../../../../../deploy/models/yardlog", import.meta.url));
const marked = (dir: string) => Buffer.from(fingerprint(openCheckpoint(dir))).toString("hex");

let original = "";
beforeEach(() => {
  original = marked(yardlog);
});

/** The fingerprint of a copy of yardlog after `change`. */
const after = (change: (dir: string) => void): string =>
  inFolder((dir) => {
    cpSync(yardlog, dir, { recursive: true });
    change(dir);
    return marked(dir);
  });

const editText = (dir: string, file: string, edit: (text: string) => string) =>
  writeFileSync(join(dir, file), edit(readFileSync(join(dir, file), "utf8")));

/** Flips one bit of a tensor's byte; negative places count from its end. */
function flip(dir: string, tensor: string, place: number): void {
  const path = join(dir, "model.safetensors");
  const bytes = readFileSync(path);
  const { offset, bytes: count } = openCheckpoint(dir).shards[0]!.tensors.find(({ name }) => name === tensor)!;
  bytes[offset + (place < 0 ? count + place : place)]! ^= 1;
  writeFileSync(path, bytes);
}

test("it is what its comment says, computed here from the files alone", () => {
  const hash = createHash("sha256");
  const part = (data: Buffer) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(data.length));
    hash.update(Buffer.concat([length, data]));
  };
  const sorted = (value: unknown): unknown =>
    typeof value !== "object" || value === null || Array.isArray(value)
      ? value
      : Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, sorted(inner)]),
        );
  part(Buffer.from("longshore fingerprint 1"));
  part(Buffer.from(JSON.stringify(sorted(JSON.parse(readFileSync(join(yardlog, "config.json"), "utf8"))))));
  part(readFileSync(join(yardlog, "tokenizer.json")));

  const file = readFileSync(join(yardlog, "model.safetensors"));
  const start = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString("utf8", 8, start)) as Record<string, { data_offsets: [number, number] }>;
  part(file.subarray(8, start));
  const spans = Object.entries(header).flatMap(([name, { data_offsets }]) => (name === "__metadata__" ? [] : [data_offsets]));
  for (const [begin, end] of spans.sort((a, b) => a[0] - b[0])) {
    const data = file.subarray(start + begin, start + end);
    const middle = Math.floor(data.length / 2);
    const looks = data.length <= 192 ? [data] : [data.subarray(0, 64), data.subarray(middle, middle + 64), data.subarray(-64)];
    looks.forEach(part);
  }
  expect(original).toBe(hash.digest("hex"));
});

test.each([
  ["the first byte of a large tensor", (dir: string) => flip(dir, "embed.weight", 0)],
  ["its middle", (dir: string) => flip(dir, "embed.weight", 524_288)],
  ["its last byte", (dir: string) => flip(dir, "embed.weight", -1)],
  ["any byte of a small tensor", (dir: string) => flip(dir, "layers.1.hc_attn_base", 50)],
  ["the tokenizer", (dir: string) => editText(dir, "tokenizer.json", (text) => `${text} `)],
  ["a tokenizer that is not there", (dir: string) => rmSync(join(dir, "tokenizer.json"))],
  ["the config", (dir: string) => editText(dir, "config.json", (text) => text.replace('"rope_theta": 10000.0', '"rope_theta": 10001.0'))],
])("%s changes it", (_, change) => {
  expect(after(change)).not.toBe(original);
});

test("a copy elsewhere, and white space and order in config.json, do not change it", () => {
  const reversed = (text: string) => JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(text)).reverse()), null, 8);
  expect(after((dir) => editText(dir, "config.json", reversed))).toBe(original);
});
