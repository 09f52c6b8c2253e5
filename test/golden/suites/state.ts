import { boundarySpans } from "../../../services/shared/engine/boundary.ts";
import { layerKind } from "../../../services/shared/engine/model-config.ts";
import type { Sequence } from "../../../services/shared/engine/sequence.ts";
import type { Tensors } from "./checkpoint.ts";
import type { Pair } from "./compare.ts";
import type { ObservedModel } from "./observed.ts";
import type { SuiteResult } from "./result.ts";

/** After T tokens, per layer: how many rows and values an incremental state must hold (spec 3.1). */
export type StateCounts = Readonly<Record<string, readonly Readonly<Record<string, number>>[]>>;

/** Windows and compressor state after `position` tokens, as a boundary would hold them. */
export function stateTensors(observed: ObservedModel, golden: Tensors, ids: Int32Array, position: number): Pair[] {
  const sequence = observed.sequence();
  observed.feed(sequence, ids.subarray(0, position));
  const pairs: Pair[] = [];
  for (const [name, { values, shape }] of golden) {
    const [, what = "", layerText = ""] = /^state\.(\w+)\.(\d+)$/.exec(name) ?? [];
    if (what === "") continue;
    const [rows = 0, rowLength = 0] = shape;
    pairs.push({ name, ours: stateRows(observed, sequence, what, Number(layerText), rows, rowLength), golden: values, rowLength });
  }
  return pairs;
}

/** How many rows and values our state holds at each position of the table. */
export function stateSizes(observed: ObservedModel, ids: Int32Array, counts: StateCounts): SuiteResult {
  const failures: string[] = [];
  let compared = 0;
  const sequence = observed.sequence();
  for (const position of Object.keys(counts)
    .map(Number)
    .sort((a, b) => a - b)) {
    if (position > sequence.position) observed.feed(sequence, ids.subarray(sequence.position, position));
    for (const { layer = 0, ratio, ...golden } of counts[position]!) {
      if (ratio !== observed.model.config.ratios[layer])
        failures.push(`layer ${layer}: ratio ${observed.model.config.ratios[layer]} instead of ${ratio}`);
      const ours = layerCounts(observed, sequence, layer);
      for (const [name, count] of Object.entries(golden)) {
        compared++;
        if (ours[name] !== count) failures.push(`after ${position} tokens layer ${layer} holds ${ours[name]} ${name}, not ${count}`);
      }
    }
  }
  return { suite: "state sizes", compared, worst: failures.length, tolerance: "exact", failures };
}

const partNames: Readonly<Record<string, string>> = {
  comp_partial: "partial",
  comp_overlap: "overlap",
  icomp_partial: "index partial",
  icomp_overlap: "index overlap",
};

/** Rows [k, z] alternate in a boundary: the k or the z of each, or the last rows of the window. */
function stateRows(
  observed: ObservedModel,
  sequence: Sequence,
  what: string,
  layer: number,
  rows: number,
  rowLength: number,
): Float32Array {
  if (what === "window") {
    const bytes = partBytes(sequence, layer, "window");
    return observed.unpacked(bytes.subarray(bytes.length - rows * observed.model.layout.rowBytes));
  }
  const [, part = "", half = ""] = /^(\w+)_([kz])$/.exec(what) ?? [];
  const values = new Float32Array(partBytes(sequence, layer, partNames[part] ?? "").slice().buffer);
  const picked = new Float32Array(rows * rowLength);
  for (let row = 0; row < rows; row++) {
    const at = (2 * row + (half === "k" ? 0 : 1)) * rowLength;
    picked.set(values.subarray(at, at + rowLength), row * rowLength);
  }
  return picked;
}

function partBytes(sequence: Sequence, layer: number, part: string): Uint8Array {
  const spans = boundarySpans(sequence).filter((span) => span.layer === layer && span.part === part);
  return new Uint8Array(Buffer.concat(spans.map(({ place }) => place)));
}

function layerCounts(observed: ObservedModel, sequence: Sequence, layer: number): Record<string, number> {
  const { config, layout } = observed.model;
  const { ratio, rows } = layout.layers[layer]!;
  const bytes = (part: string) => partBytes(sequence, layer, part).length;
  const whole = Math.floor(sequence.position / layout.segmentTokens) * rows;
  const width = layerKind(ratio) === "csa" ? 2 * config.headDim : config.headDim;
  return {
    window_rows: bytes("window") / layout.rowBytes,
    entries: whole + bytes("entries") / layout.rowBytes,
    index_keys: whole + bytes("keys") / layout.keyBytes,
    partial_rows: bytes("partial") / (2 * 4 * width),
    partial_values: bytes("partial") / 4,
    index_partial_values: bytes("index partial") / 4,
    overlap_rows: bytes("overlap") / (2 * 4 * config.headDim),
    overlap_values: (bytes("overlap") + bytes("index overlap")) / 4,
  };
}
