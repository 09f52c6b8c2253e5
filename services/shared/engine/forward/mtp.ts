import type { MtpWeights } from "../checkpoint/weights.ts";
import { reshape, type Tensor } from "../kernels.ts";
import type { Placed } from "../model.ts";
import { block } from "./model.ts";
import { linear, type Run, rmsNorm, splitRows } from "./run.ts";

/**
 * The MTP block (spec 9.1): final streams A [T, n, d] of positions t and the ids I32 [T] of positions t + 1 -> streams
 * A [T, n, d], whose head (norm and hcHead of the block, the model's own head) predicts t + 2. Overwrites `streams`.
 * `layer` is the index of the block's window in the sequences' layers.
 */
export function mtpBlock(run: Run, layer: number, weights: Placed<MtpWeights>, nextIds: Tensor, streams: Tensor): Tensor {
  const { ops, work, rows: T } = run;
  const { hidden: d, hcMult: n } = run.model.config;
  const embedding = work.at("nextEmbedding", [T, 1, d]);
  ops.embed({ ids: nextIds, table: run.model.weights.embed, streams: embedding });
  const e = reshape(embedding, [T, d]);
  rmsNorm(run, e, weights.enorm);
  const projected = work.at("nextProjected", [T, d]);
  linear(run, e, weights.eProj, projected);

  const copies = splitRows(reshape(streams, [T, n * d]), n);
  rmsNorm(run, copies, weights.hnorm);
  const mixed = work.at("streamsProjected", [T * n, d]);
  linear(run, copies, weights.hProj, mixed);
  ops.add({ a: mixed, b: projected, y: copies, repeat: n });
  block(run, layer, weights.layer, nextIds, streams);
  return streams;
}
