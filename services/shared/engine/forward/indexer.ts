import type { IndexerWeights } from "../checkpoint/weights.ts";
import { reshape, type Tensor } from "../kernels.ts";
import type { Placed } from "../model.ts";
import { compress, storeWindows } from "./compressor.ts";
import { linear, ofPart, type Part, type Run, splitRows } from "./run.ts";

const CSA_RATIO = 4;

/**
 * The entries each row may attend to in a CSA layer (spec 2.5):
 * I32 [T, topK], ascending, padded with -1. x A [T, d], qr A [T, qLora].
 */
export function selectEntries(run: Run, layer: number, weights: Placed<IndexerWeights>, x: Tensor, qr: Tensor): Tensor {
  const { work, rows: T } = run;
  const { config, layout } = run.model;
  const iq = indexQueries(run, weights, qr);
  const iw = work.at("indexWeights", [T, config.indexHeads]);
  linear(run, x, weights.weightsProj, iw);

  const pooled = compress(run, weights.compressor, x, CSA_RATIO, config.indexDim, (sequence) => sequence.layers[layer]!.indexer!);
  storeWindows(run, layout.layers[layer]!.keys!, CSA_RATIO, pooled, (rows, keys) => run.ops.keyPack({ rows, keys, keyLayout: layout.key }));

  const sel = work.at("selected", [T, config.indexTopK]);
  for (const part of run.parts) select(run, layer, part, iq, iw, sel);
  run.tap?.see("index_sel", layer, sel);
  return sel;
}

/** Index queries, rotated and packed like keys: U8 [T, indexHeads, keyBytes]. */
function indexQueries(run: Run, weights: Placed<IndexerWeights>, qr: Tensor): Tensor {
  const { ops, work, rows: T } = run;
  const { config, layout } = run.model;
  const { indexHeads, indexDim } = config;
  const queries = work.at("indexQ", [T, indexHeads * indexDim]);
  linear(run, qr, weights.wqB, queries);
  ops.rope({ x: reshape(queries, [T, indexHeads, indexDim]), table: run.rope.compressed, sign: +1 });
  const packed = work.at("indexQPacked", [T * indexHeads, layout.keyBytes]);
  ops.keyPack({ rows: splitRows(queries, indexHeads), keys: packed, keyLayout: layout.key });
  return reshape(packed, [T, indexHeads, layout.keyBytes]);
}

function select(run: Run, layer: number, part: Part, iq: Tensor, iw: Tensor, sel: Tensor): void {
  const { config, layout } = run.model;
  const { offset, rows } = layout.layers[layer]!.keys!;
  const scores = run.tap?.scores(part.count, Math.floor((part.start + part.count) / CSA_RATIO)) ?? null;
  run.ops.select({
    iq: ofPart(iq, part),
    iw: ofPart(iw, part),
    keys: part.sequence.list,
    sel: ofPart(sel, part),
    scores,
    start: part.start,
    m: CSA_RATIO,
    keyLayout: layout.key,
    dim: config.indexDim,
    pageOffset: offset,
    rowsPerPage: rows,
    scale: (config.indexDim * config.indexHeads) ** -0.5,
  });
  if (scores !== null) run.tap?.see("index_scores", layer, scores);
}
