import { boundarySpans } from "../../../services/shared/engine/boundary.ts";
import { layerKind } from "../../../services/shared/engine/model-config.ts";
import type { Sequence } from "../../../services/shared/engine/sequence.ts";
import type { Tensors } from "./checkpoint.ts";
import type { Pair } from "./compare.ts";
import type { ObservedModel } from "./observed.ts";
import type { SuiteResult } from "./result.ts";

/** After T tokens, per layer: how many rows and values an incremental state must hold (spec 3.1). */
export type StateCounts = Readonly<Record<string, readonly Readonly<Record<string, number>>[]>>;

/** What an incremental state must hold, and what it is after `state_at` tokens. */
export interface StateTable {
  readonly state_at: number;
  readonly counts: StateCounts;
}

/** How many rows and values our state holds at each position of the table; and windows and compressor state at one of them, as a boundary would hold them. One pass over the ids. */
export function stateAlong(
  observed: ObservedModel,
  golden: Tensors,
  ids: Int32Array,
  { state_at, counts }: StateTable,
): { readonly tensors: readonly Pair[]; readonly sizes: SuiteResult } {
  const sequence = observed.sequence();
  const positions = [...new Set([...Object.keys(counts).map(Number), state_at])].sort((a, b) => a - b);
  const tensors: Pair[] = [];
  const failures: string[] = [];
  let compared = 0;
  for (const position of positions) {
    if (position > sequence.position) observed.advance(sequence, ids.subarray(sequence.position, position));
    if (position === state_at) tensors.push(...stateTensors(observed, golden, sequence));
    for (const { layer = 0, ratio, ...expected } of counts[position] ?? []) {
      compared += Object.keys(expected).length;
      const present = observed.model.config.ratios[layer];
      if (ratio !== present) failures.push(`layer ${layer}: ratio ${present} instead of ${ratio}`);
      failures.push(
        ...miscounts(layerCounts(observed, sequence, layer), expected).map(
          (what) => `after ${position} tokens layer ${layer} holds ${what}`,
        ),
      );
    }
  }
  return { tensors, sizes: { suite: "state sizes", compared, worst: failures.length, tolerance: "exact", failures } };
}

function stateTensors(observed: ObservedModel, golden: Tensors, sequence: Sequence): Pair[] {
  const pairs: Pair[] = [];
  for (const [name, { values, shape }] of golden) {
    const [, what = "", layerText = ""] = /^state\.(\w+)\.(\d+)$/.exec(name) ?? [];
    if (what === "") continue;
    const [rows = 0, rowLength = 0] = shape;
    pairs.push({ name, ours: stateRows(observed, sequence, what, Number(layerText), rows, rowLength), golden: values, rowLength });
  }
  return pairs;
}

const miscounts = (ours: Readonly<Record<string, number>>, expected: Readonly<Record<string, number>>): string[] =>
  Object.entries(expected).flatMap(([name, count]) => (ours[name] === count ? [] : [`${ours[name]} ${name}, not ${count}`]));

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
