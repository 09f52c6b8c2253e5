import { joined } from "../../runtime/joined.ts";
import { rows, type Tensor, upload } from "../kernels.ts";
import { grow, type Sequence } from "../sequence.ts";
import type { Emitted, Means, Part, Run } from "./run.ts";

/** The next tokens of one sequence. */
export interface Feed {
  readonly sequence: Sequence;
  readonly ids: Int32Array;
}

/** Lays out the feeds' rows in order, makes room in their pages, and computes the rotations that all layers share. */
export function prepare(means: Means, feeds: readonly Feed[]): Run {
  const { model, ops, work } = means;
  const parts: Part[] = [];
  let total = 0;
  for (const { sequence, ids } of feeds) {
    grow(sequence, ids.length);
    parts.push({ sequence, start: sequence.position, row: total, count: ids.length });
    total += ids.length;
  }
  const ids = work.at("ids", [total]);
  for (const [i, part] of parts.entries()) upload(rows(ids, part.row, part.count), feeds[i]!.ids);

  const places = parts.map(({ start, count }) => range(start, count, 1));
  const positions = upload(work.at("positions", [total]), joined(Int32Array, places));
  const pairs = model.config.rope / 2;
  const main = work.at("tableMain", [total, pairs, 2]);
  const compressed = work.at("tableCompressed", [total, pairs, 2]);
  ops.ropeTable({ positions, freqs: model.frequencies.main, table: main });
  ops.ropeTable({ positions, freqs: model.frequencies.compressed, table: compressed });
  return { ...means, rows: total, parts, rope: { main, compressed }, emitted: emittedWindows(means, parts) };
}

/** For each ratio of the model, the windows that complete in this call. All ratios share one table of rotations. */
function emittedWindows({ model, ops, work }: Means, parts: readonly Part[]): ReadonlyMap<number, Emitted> {
  const ratios = [...new Set(model.config.ratios)].filter((ratio) => ratio > 0);
  const plans = ratios.map((ratio) => ({ ratio, ...windowSpans(parts, ratio) }));
  const begins = plans.flatMap(({ ratio, spans }) => spans.map(({ first, count }) => range(first * ratio, count, ratio)));
  const positions = joined(Int32Array, begins);
  const pairs = model.config.rope / 2;
  const table = work.at("tableWindows", [positions.length, pairs, 2]);
  if (positions.length > 0) {
    const placed: Tensor = upload(work.at("windowPositions", [positions.length]), positions);
    ops.ropeTable({ positions: placed, freqs: model.frequencies.compressed, table });
  }
  let row = 0;
  return new Map(
    plans.map(({ ratio, count, spans }) => {
      const rope = rows(table, row, count);
      row += count;
      return [ratio, { count, rope, spans }];
    }),
  );
}

function windowSpans(parts: readonly Part[], ratio: number) {
  let row = 0;
  const spans = parts.map(({ start, count: tokens }) => {
    const first = Math.floor(start / ratio);
    const count = Math.floor((start + tokens) / ratio) - first;
    const span = { row, first, count };
    row += count;
    return span;
  });
  return { count: row, spans };
}

const range = (first: number, count: number, step: number): Int32Array => Int32Array.from({ length: count }, (_, i) => first + i * step);
