import type { LayerWeights } from "../checkpoint/weights.ts";
import { reshape, type Tensor, upload } from "../kernels.ts";
import type { Placed } from "../model.ts";
import { attention } from "./attention.ts";
import { hyperConnected, hyperHead } from "./hyper.ts";
import { mixtureOfExperts } from "./moe.ts";
import { linear, type Run, rmsNorm } from "./run.ts";

/**
 * The backbone (spec 2.0) over the rows of the call: residual streams A [T, n, d].
 * Every sequence keeps its new rows; the caller moves the positions on. `layerDone`
 * may throw to stop between layers: the sequences of the call can then only be freed.
 */
export function backbone(run: Run, layerDone: (layersDone: number) => void): Tensor {
  const { ops, work, rows: T } = run;
  const { weights, config } = run.model;
  const streams = work.at("streams", [T, config.hcMult, config.hidden]);
  const ids = work.at("ids", [T]);
  ops.embed({ ids, table: weights.embed, streams });
  for (const [layer, layerWeights] of weights.layers.entries()) {
    block(run, layer, layerWeights, ids, streams);
    layerDone(layer + 1);
  }
  return streams;
}

/** One layer: attention, then the experts, each inside its hyper-connection. */
export function block(run: Run, layer: number, weights: Placed<LayerWeights>, ids: Tensor, streams: Tensor): void {
  const { tap } = run;
  hyperConnected(run, weights.hcAttn, weights.attnNorm, streams, (x, y) => {
    tap?.see("attn_in", layer, x);
    attention(run, layer, weights.attn, x, y);
    tap?.see("attn_out", layer, y);
  });
  hyperConnected(run, weights.hcFfn, weights.ffnNorm, streams, (x, y) => {
    tap?.see("ffn_in", layer, x);
    mixtureOfExperts(run, layer, weights.moe, ids, x, y);
    tap?.see("ffn_out", layer, y);
  });
  tap?.see("stream", layer, streams);
}

/** Logits F32 [wanted, vocab] of the given rows of the call, at most WorkspaceSize.logitRows. */
export function logits(run: Run, streams: Tensor, wanted: Int32Array): Tensor {
  const { weights } = run.model;
  return head(run, weights, wantedRows(run, streams, wanted));
}

/** Turns streams A [R, n, d] into logits F32 [R, vocab], for the backbone or an MTP block. */
export function head(run: Run, { hcHead, norm }: Pick<Run["model"]["weights"], "hcHead" | "norm">, streams: Tensor): Tensor {
  const h = hyperHead(run, hcHead, streams);
  rmsNorm(run, h, norm);
  const scores = run.work.at("logits", [streams.shape[0]!, run.model.config.vocab]);
  linear(run, h, run.model.weights.head, scores);
  return scores;
}

/** Copies of the wanted rows: A [wanted, n, d]. */
export function wantedRows({ ops, work, model }: Run, streams: Tensor, wanted: Int32Array): Tensor {
  const { hcMult: n, hidden: d } = model.config;
  const rows = work.at("wanted", [wanted.length]);
  upload(rows, wanted);
  const y = work.at("wantedStreams", [wanted.length, n, d]);
  ops.gather({ x: reshape(streams, [streams.shape[0]!, n * d]), rows, y: reshape(y, [wanted.length, n * d]) });
  return y;
}
