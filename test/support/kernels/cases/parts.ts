import type { Activation, KeyLayout, KvLayout, Operation, Stream, Tensor, TensorList } from "../../../../services/shared/engine/kernels.ts";
import { bytesIn, keyBytes, kvEntryBytes, openBackend, rows, tensor } from "../../../../services/shared/engine/kernels.ts";
import type { Case, Output } from "../case.ts";
import { createList, from, zeros } from "../owned.ts";
import type { Draw } from "../random.ts";

/** What the cases of several families are made of. */
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

/** The width of rows that are compared by their largest value (ls_tolerance in kernels.h): never so few that all of a row cancel. */
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

/** The rows spread over pages with something in front of them, the last page just long enough. */
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

/** Where scores are only near the reference's, the choice may differ between entries that are as good. */
export function equallyGood(actual: Output, expected: Output, all: readonly Output[]): string | null {
  const [K, S, scores] = [expected.width, all[1]!.width, all[1]!.values];
  for (let row = 0; row * K < expected.values.length; row++) {
    const line = scores.subarray(row * S, (row + 1) * S);
    const scale = line.reduce((most, v) => Math.max(most, Number.isFinite(v) ? Math.abs(v) : 0), 0);
    const sorted = (sel: Output) =>
      Array.from(sel.values.subarray(row * K, (row + 1) * K), (s) => (s < 0 ? -Infinity : line[s]!)).sort((p, q) => q - p);
    const [got, wanted] = [sorted(actual), sorted(expected)];
    if (got.some((score, i) => !(score === wanted[i] || Math.abs(score - wanted[i]!) <= 2e-5 * scale)))
      return `row ${row} chose ${got}, expected ${wanted}`;
  }
  return null;
}
