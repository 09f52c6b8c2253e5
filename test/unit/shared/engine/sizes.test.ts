import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseModelConfig } from "../../../../services/shared/engine/checkpoint/config.ts";
import { payloadLayout } from "../../../../services/shared/engine/layout.ts";
import { boundaryBytes, kvSizes } from "../../../../services/shared/engine/sizes.ts";
import { releasedConfig } from "../../../support/synthetic.ts";

const flash = parseModelConfig(releasedConfig("configs/v4-flash.json"));
const final = parseModelConfig(releasedConfig("configs/v4-flash-0731.json"));
const pro = parseModelConfig(releasedConfig("configs/v4-pro.json"));
const yardlog = parseModelConfig(releasedConfig("yardlog/config.json"));

/** Spec 3.2, 3.3; yardlog: its README. */
test.each([
  ["V4-Flash", flash, { entryBytes: 584, indexKeyBytes: 68, bytesPerToken: 3514.25, windowBytes: 3_214_336, compressorBytes: 12_206_080 }],
  [
    "V4-Flash-0731",
    final,
    { entryBytes: 584, indexKeyBytes: 68, bytesPerToken: 3514.25, windowBytes: 3_214_336, compressorBytes: 12_206_080 },
  ],
  ["V4-Pro", pro, { entryBytes: 584, indexKeyBytes: 68, bytesPerToken: 5031.4375, windowBytes: 4_559_872, compressorBytes: 18_710_528 }],
  ["yardlog", yardlog, { entryBytes: 328, indexKeyBytes: 68, bytesPerToken: 101.5625 }],
])("%s in the trained layout", (_, config, expected) => {
  const sizes = kvSizes(config);
  expect(sizes).toMatchObject(expected);
  expect(sizes.segmentBytes).toBe(512 * expected.bytesPerToken);
  expect(sizes.kinds.reduce((sum, { bytesPerToken }) => sum + bytesPerToken, 0)).toBe(expected.bytesPerToken);
  expect(sizes.kinds.reduce((sum, { layers }) => sum + layers, 0)).toBe(config.ratios.length);
});

test("CSA and HCA shares of spec 3.3", () => {
  expect(kvSizes(pro).kinds).toEqual([
    { kind: "csa", ratio: 4, layers: 30, bytesPerToken: 4890 },
    { kind: "hca", ratio: 128, layers: 31, bytesPerToken: 141.4375 },
  ]);
  expect(kvSizes(flash).kinds).toEqual([
    { kind: "sliding", ratio: 0, layers: 2, bytesPerToken: 0 },
    { kind: "csa", ratio: 4, layers: 21, bytesPerToken: 3423 },
    { kind: "hca", ratio: 128, layers: 20, bytesPerToken: 91.25 },
  ]);
});

test.each([
  ["V4-Flash", flash, 6880, 5_636_096],
  ["V4-Pro", pro, 9848, 7_995_392],
])("%s in bf16, for comparison", (_, config, bytesPerToken, windowBytes) => {
  const layout = payloadLayout(config, { mode: "serving", plainKv: true, segmentTokens: 512 });
  expect(kvSizes(config, layout)).toMatchObject({ entryBytes: 1024, indexKeyBytes: 256, bytesPerToken, windowBytes });
});

test.each([
  ["V4-Flash", flash, 449_824, 430_080],
  ["V4-Pro", pro, 644_024, 614_400],
])("%s: a segment of 128 tokens and the boundary behind it (spec 3.5)", (_, config, segmentBytes, overlapBytes) => {
  const layout = payloadLayout(config, { mode: "serving", segmentTokens: 128 });
  expect(kvSizes(config, layout).segmentBytes).toBe(segmentBytes);
  expect(boundaryBytes(config, layout, 1280)).toBe(overlapBytes + config.ratios.length * 127 * 584);
});

interface LayerCounts {
  readonly ratio: number;
  readonly window_rows: number;
  readonly entries?: number;
  readonly index_keys?: number;
  readonly partial_values?: number;
  readonly index_partial_values?: number;
  readonly overlap_values?: number;
}

test("boundaries hold the rows and values that the golden state counts, at every position it names", () => {
  const t2 = new URL("../../../golden/data/t2/", import.meta.url);
  const config = parseModelConfig(JSON.parse(readFileSync(new URL("config.json", t2), "utf8")));
  const { counts } = JSON.parse(readFileSync(new URL("state.json", t2), "utf8")) as { counts: Record<string, LayerCounts[]> };
  const layout = payloadLayout(config, { mode: "exact", plainKv: true, segmentTokens: 256 });
  expect(Object.keys(counts).length).toBeGreaterThan(10);
  for (const [position, layers] of Object.entries(counts)) {
    const stored = Math.floor(Number(position) / 256) * 256;
    const tail = (rows: number | undefined, ratio: number) => (rows === undefined ? 0 : rows - stored / ratio);
    const bytes = layers.map(
      (layer) =>
        (layer.window_rows + tail(layer.entries, layer.ratio)) * layout.rowBytes +
        tail(layer.index_keys, layer.ratio) * layout.keyBytes +
        4 * ((layer.partial_values ?? 0) + (layer.index_partial_values ?? 0) + (layer.overlap_values ?? 0)),
    );
    expect(boundaryBytes(config, layout, Number(position)), `position ${position}`).toBe(bytes.reduce((a, b) => a + b, 0));
  }
});
