import {
  type Activation,
  bytesIn,
  count,
  floats,
  type KeyLayout,
  type KvLayout,
  keyBytes,
  kvEntryBytes,
  type Operation,
  openBackend,
  reshape,
  rows,
  type Stream,
  type Tensor,
  type TensorList,
  tensor,
} from "../../../../services/shared/engine/kernels.ts";
import { type Case, near, type Output } from "../case.ts";
import { createList, from, zeros } from "../owned.ts";
import type { Draw } from "../random.ts";

/** Parts of the cases of several families. */
export const activations: readonly Activation[] = ["F32", "BF16"];
export const weightFormats = ["F32", "BF16", "F8_E4M3", "F4_E2M1"] as const;

export function plain(
  operation: Operation,
  label: string,
  count: number,
  run: (stream: Stream, from: number, to: number) => readonly Tensor[],
): Case {
  return { operation, label, rows: count, state: () => [], run: (stream, _, a, b) => run(stream, a, b) };
}

export const cut = (t: Tensor, begin: number, end: number): Tensor => rows(t, begin, end - begin);
export const copy = (t: Tensor): Tensor => {
  const made = zeros(t.dtype, t.shape);
  bytesIn(made).set(bytesIn(t));
  return made;
};
export const flat = (times: number, make: () => readonly number[]): Float32Array =>
  Float32Array.from(Array.from({ length: times }, make).flat());

/**
 * The width of rows that are compared by their largest value (ls_tolerance in kernels.h): never so few that all of a
 * row cancel.
 */
export const wide = (draw: Draw, max: number): number => draw.whole(4, max);
/** Below, around and far above the blocks that kernels work in. */
export const width = (draw: Draw): number => {
  const [min, max] = draw.pick([
    [4, 40],
    [41, 300],
    [41, 300],
    [301, 1400],
  ] as const);
  return draw.whole(min, max);
};
export const keyDim = (draw: Draw, layout: KeyLayout): number => (layout === "fp4" ? draw.pick([32, 64, 128]) : draw.whole(1, 140));
export const kvWidths = (draw: Draw) => ({ nope: wide(draw, 200), rope: 2 * draw.whole(0, 20) });

/** A weight with values around one over the root of K, in any format of a checkpoint. */
export function weight(draw: Draw, format: (typeof weightFormats)[number], N: number, K: number): { w: Tensor; scale: Tensor | null } {
  if (format === "F8_E4M3") return { w: draw.bytes(format, [N, K]), scale: draw.scales([Math.ceil(N / 128), Math.ceil(K / 128)], -7) };
  if (format === "F4_E2M1") return { w: draw.bytes(format, [N, K]), scale: draw.scales([N, K / 32], -3) };
  return { w: draw.floats(format, [N, K], 0.3), scale: null };
}

const packer = openBackend({ path: "reference", threads: 1 });
const packing = packer.createStream();

export function kvRows(draw: Draw, kvLayout: KvLayout, T: number, nope: number, rope: number): Tensor {
  const entries = zeros("U8", [T, kvEntryBytes(kvLayout, nope, rope)]);
  packing.kvPack({ rows: draw.floats("F32", [T, nope + rope]), entries, kvLayout, rope });
  packing.wait();
  return entries;
}

/** Few distinct rows, so that equal scores are common. */
export function keyRows(draw: Draw, keyLayout: KeyLayout, R: number, dim: number): Tensor {
  const [distinct, all] = [Math.max(1, Math.ceil(R / 2)), zeros("U8", [R, keyBytes(keyLayout, dim)])];
  const keys = zeros("U8", [distinct, keyBytes(keyLayout, dim)]);
  packing.keyPack({ rows: draw.floats("F32", [distinct, dim]), keys, keyLayout });
  packing.gather({ x: keys, rows: draw.ints([R], 0, distinct - 1), y: all });
  packing.wait();
  return all;
}

/** The rows spread over pages, with other bytes in front of them, the last page just long enough. */
export function paged(draw: Draw, block: Tensor): { list: TensorList; pageOffset: number; rowsPerPage: number } {
  const [total = 0, bytes = 0] = block.shape;
  const [rowsPerPage, pageOffset, list] = [draw.whole(1, 50), draw.whole(0, 40), createList()];
  for (let begin = 0; begin < total; begin += rowsPerPage) {
    const part = cut(block, begin, Math.min(total, begin + rowsPerPage));
    const page = draw.bytes("U8", [pageOffset + part.shape[0]! * bytes]);
    bytesIn(page).set(bytesIn(part), pageOffset);
    list.append(tensor(page.buffer, "U8", page.shape));
  }
  return { list, pageOffset, rowsPerPage };
}

/** As SELECT writes it: ascending, then -1. */
export function selection(draw: Draw, T: number, K: number, start: number, m: number): Tensor {
  const line = (i: number) => {
    const visible = Math.floor((start + i + 1) / m);
    const chosen = draw
      .order(visible)
      .slice(0, draw.whole(0, K))
      .sort((p, q) => p - q);
    return Array.from({ length: K }, (_, j) => chosen[j] ?? -1);
  };
  return from("I32", [T, K], Int32Array.from(Array.from({ length: T }, (_, i) => line(i)).flat()));
}

/**
 * SELECT's scores need only be near the reference's, and its choice may differ between equally good entries. What
 * rounding does to a score is in proportion to the lengths of queries and keys, of which the scores of a row may show
 * little: at near right angles, and when heads cancel.
 */
export function nearScores({ iq, iw, keyBlock, keyLayout, dim, scale }: Scored): NonNullable<Case["compare"]> {
  const [queries, keys] = [iq, keyBlock].map((packed) => lengths(packed, keyLayout, dim)) as [Float64Array, Float64Array];
  const [longest, weights, h] = [Math.max(...keys), floats(iw), iq.shape[1]!];
  const size = (_: Output, row: number) => {
    const heads = Array.from({ length: h }, (_, head) => row * h + head);
    return heads.reduce((sum, at) => sum + Math.abs(weights[at]!) * queries[at]! * longest * scale, 0);
  };
  return {
    0: (actual, expected, all) => equallyGood(actual, expected, all[1]!, (row) => 2e-6 * size(all[1]!, row)),
    1: (actual, expected) => near(1e-6, actual, expected, size),
  };
}

interface Scored {
  readonly iq: Tensor;
  readonly iw: Tensor;
  readonly keyBlock: Tensor;
  readonly keyLayout: KeyLayout;
  readonly dim: number;
  readonly scale: number;
}

/** Lengths of packed rows. */
function lengths(packed: Tensor, keyLayout: KeyLayout, dim: number): Float64Array {
  const bytes = packed.shape.at(-1)!;
  const R = count(packed.shape) / bytes;
  const unpacked = zeros("F32", [R, dim]);
  packing.keyUnpack({ keys: reshape(packed, [R, bytes]), rows: unpacked, keyLayout });
  packing.wait();
  const values = floats(unpacked);
  return Float64Array.from({ length: R }, (_, row) => Math.hypot(...values.subarray(row * dim, (row + 1) * dim)));
}

function equallyGood(actual: Output, expected: Output, scores: Output, bound: (row: number) => number): string | null {
  const [K, S] = [expected.width, scores.width];
  for (let row = 0; row * K < expected.values.length; row++) {
    const line = scores.values.subarray(row * S, (row + 1) * S);
    const sorted = (sel: Output) =>
      Array.from(sel.values.subarray(row * K, (row + 1) * K), (s) => (s < 0 ? -Infinity : line[s]!)).sort((p, q) => q - p);
    const [got, wanted] = [sorted(actual), sorted(expected)];
    if (got.some((score, i) => !(score === wanted[i] || Math.abs(score - wanted[i]!) <= bound(row))))
      return `row ${row} chose ${got}, expected ${wanted}`;
  }
  return null;
}
