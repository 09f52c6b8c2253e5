import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { boundarySpans, readBoundary, writeBoundary } from "../../../../services/shared/engine/boundary.ts";
import { bytesIn, from, zeros } from "../../../../services/shared/engine/kernels.ts";
import { boundaryBytes } from "../../../../services/shared/engine/sizes.ts";
import { goldenIds, Timelines } from "../../../support/timeline.ts";

// docs/formats-payload.md shows the layout of the golden model t2; every line of its examples is recomputed here.

const doc = readFileSync(fileURLToPath(new URL("../../../../docs/formats-payload.md", import.meta.url)), "utf8");
const inDoc = (...cells: readonly (string | number)[]) => expect(doc).toContain(`| ${cells.join(" | ")} |`);

let model: Timelines;
beforeAll(() => {
  model = new Timelines("t2", { mode: "serving", kernelPath: "reference", segmentTokens: 128, rowsMax: 270 });
});
afterAll(() => model.release());

test("the segment of the example", () => {
  const { layout } = model.means.model;
  expect(layout.name).toBe("e4m3_bf16+fp4");
  for (const [layer, { entries, keys }] of layout.layers.entries())
    for (const [part, block] of [
      ["entries", entries],
      ["keys", keys],
    ] as const)
      if (block !== null) inDoc(layer, part, block.offset, block.rows, block.rowBytes, block.rows * block.rowBytes);
  inDoc("", "end", layout.segmentBytes, "", "", layout.segmentBytes);
});

test("the boundary of the example, and its size at every position", () => {
  const { config, layout } = model.means.model;
  const sequence = model.open();
  model.feed({ sequence, ids: goldenIds("t2").subarray(0, 270) });
  const parts = new Map<string, { layer: number; part: string; offset: number; bytes: number }>();
  let offset = 0;
  for (const { layer, part, place } of boundarySpans(sequence)) {
    const known = parts.get(`${layer} ${part}`) ?? { layer, part, offset, bytes: 0 };
    parts.set(`${layer} ${part}`, { ...known, bytes: known.bytes + place.length });
    offset += place.length;
  }
  for (const { layer, part, offset: at, bytes } of parts.values()) inDoc(layer, part, at, bytes);
  inDoc("", "end", offset, offset);
  expect(writeBoundary(sequence).length).toBe(offset);
  for (let position = 0; position < 270; position++) {
    const empty = model.open({ position, first: 0, exactFrom: position }, sequence, Math.floor(position / 128));
    const bytes = new Uint8Array(boundaryBytes(config, layout, position));
    expect(() => readBoundary(empty, bytes)).not.toThrow(); // it refuses every size but its own
  }
});

test("the row and the key of the example", () => {
  const { ops } = model.means;
  const row = new Float32Array(128);
  row.set([0.1, -3.3, 7.77, 0.0015]);
  row.set([1, -2.5], 64);
  const entries = zeros("U8", [1, 200]);
  const rows = from("F32", [1, 128], row);
  ops.kvPack({ rows, entries, kvLayout: "e4m3_bf16", rope: 64 });
  const keys = zeros("U8", [1, 68]);
  const impulse = from(
    "F32",
    [1, 128],
    Float32Array.from({ length: 128 }, (_, i) => (i === 0 ? 8 : 0)),
  );
  ops.keyPack({ rows: impulse, keys, keyLayout: "fp4" });
  ops.wait();
  const packed = bytesIn(entries);
  const hex = (bytes: Uint8Array) =>
    Buffer.from(bytes)
      .toString("hex")
      .replace(/(..)(?=.)/g, "$1 ");
  inDoc("NoPE", 0, 64, `${hex(packed.subarray(0, 4))} 00 ...`);
  inDoc("RoPE", 64, 128, `${hex(packed.subarray(64, 68))} 00 ...`);
  inDoc("scales", 192, 1, hex(packed.subarray(192, 193)));
  inDoc("zero", 193, 7, hex(packed.subarray(193)));
  inDoc("nibbles", 0, 64, `${hex(bytesIn(keys).subarray(0, 4))} ...`);
  inDoc("scales", 64, 4, hex(bytesIn(keys).subarray(64)));
  for (const t of [rows, impulse, entries, keys]) t.buffer.release();
});
