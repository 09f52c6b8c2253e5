import type { AttentionWeights } from "../checkpoint/weights.ts";
import { reshape, type Tensor } from "../kernels.ts";
import type { Placed } from "../model.ts";
import { compressEntries } from "./compressor.ts";
import { selectEntries } from "./indexer.ts";
import { linear, ofPart, type Part, type Run, rmsNorm, splitRows } from "./run.ts";

/** Spec 2.3. x A [T, d] -> y A [T, d]. Writes the new rows into the windows and the new entries into the pages. */
export function attention(run: Run, layer: number, weights: Placed<AttentionWeights>, x: Tensor, y: Tensor): void {
  const { ops, work, rows: T } = run;
  const { heads, headDim, qLora, oGroups, oLora } = run.model.config;
  const table = weights.kind === "sliding" ? run.rope.main : run.rope.compressed;

  const qr = work.at("qr", [T, qLora]);
  linear(run, x, weights.wqA, qr);
  rmsNorm(run, qr, weights.qNorm);
  const flat = work.at("q", [T, heads * headDim]);
  linear(run, qr, weights.wqB, flat);
  rmsNorm(run, splitRows(flat, heads), null);
  const q = reshape(flat, [T, heads, headDim]);
  ops.rope({ x: q, table, sign: +1 });

  const fresh = keyValues(run, weights, x, table);
  if (weights.kind !== "sliding") compressEntries(run, layer, weights, x);
  const sel = weights.kind === "csa" ? selectEntries(run, layer, weights.indexer, x, qr) : null;

  const o = work.at("o", [T, heads, headDim]);
  for (const part of run.parts) attend(run, layer, weights, part, { q, fresh, sel, o });
  ops.rope({ x: o, table, sign: -1 });

  const grouped = work.at("grouped", [T, oGroups * oLora]);
  linear(run, reshape(o, [T, heads * headDim]), weights.woA, grouped, oGroups);
  linear(run, grouped, weights.woB, y);
}

/** The rows' shared key and value, of one head, as stored: U8 [T, rowBytes]. */
function keyValues(run: Run, weights: Placed<AttentionWeights>, x: Tensor, table: Tensor): Tensor {
  const { ops, work, rows: T } = run;
  const { config, layout } = run.model;
  const rows = work.at("kv", [T, config.headDim]);
  linear(run, x, weights.wkv, rows);
  rmsNorm(run, rows, weights.kvNorm);
  ops.rope({ x: reshape(rows, [T, 1, config.headDim]), table, sign: +1 });
  const entries = work.at("fresh", [T, layout.rowBytes]);
  ops.kvPack({ rows, entries, kvLayout: layout.kv, rope: config.rope });
  return entries;
}

/** The rows of the whole call; `attend` takes the part's share of each. */
interface Attended {
  readonly q: Tensor;
  readonly fresh: Tensor;
  readonly sel: Tensor | null;
  readonly o: Tensor;
}

/** Attends the part's rows to their windows and compressed entries, then moves the window on. */
function attend(run: Run, layer: number, weights: Placed<AttentionWeights>, part: Part, all: Attended): void {
  const { config, layout } = run.model;
  const { sequence, start } = part;
  const block = layout.layers[layer]?.entries ?? null;
  const ring = sequence.layers[layer]!.window;
  const fresh = ofPart(all.fresh, part);
  run.ops.attention({
    q: ofPart(all.q, part),
    fresh,
    ring,
    sink: weights.sink,
    sel: all.sel === null ? null : ofPart(all.sel, part),
    pages: block === null ? null : sequence.list,
    o: ofPart(all.o, part),
    start,
    first: sequence.first,
    m: weights.ratio,
    kvLayout: layout.kv,
    rope: config.rope,
    pageOffset: block?.offset ?? 0,
    rowsPerPage: block?.rows ?? 1,
    scale: config.headDim ** -0.5,
  });
  run.ops.windowPut({ entries: fresh, ring, start });
}
