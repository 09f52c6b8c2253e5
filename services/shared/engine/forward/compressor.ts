import type { AttentionWeights, CompressorWeights } from "../checkpoint/weights.ts";
import { reshape, rows, type Tensor } from "../kernels.ts";
import type { Block } from "../layout.ts";
import type { Placed } from "../model.ts";
import { pageRows, type Sequence } from "../sequence.ts";
import { linear, ofPart, type Run, rmsNorm } from "./run.ts";

type Compressed = Exclude<Placed<AttentionWeights>, { readonly kind: "sliding" }>;

/** Packs the entries that this call completes (spec 2.4) into the pages of their sequences. x A [T, d]. */
export function compressEntries(run: Run, layer: number, weights: Compressed, x: Tensor): void {
  const { config, layout } = run.model;
  const pooled = compress(run, weights.compressor, x, weights.ratio, config.headDim, (sequence) => sequence.layers[layer]!.compressor!);
  storeWindows(run, layout.layers[layer]!.entries!, weights.ratio, pooled, (some, entries) =>
    run.ops.kvPack({ rows: some, entries, kvLayout: layout.kv, rope: config.rope }),
  );
}

/** Pools, norms and rotates the windows that complete in this call: A [windows, dim]. Moves the rings on. */
export function compress(
  run: Run,
  weights: Placed<CompressorWeights>,
  x: Tensor,
  ratio: number,
  dim: number,
  ringOf: (sequence: Sequence) => Tensor,
): Tensor {
  const { ops, work, rows: T } = run;
  const [, width = 0] = weights.ape.shape;
  const k = work.at("k", [T, width]);
  const z = work.at("z", [T, width]);
  linear(run, x, weights.wkv, k);
  linear(run, x, weights.wgate, z);

  const { count, spans, rope } = run.emitted.get(ratio)!;
  const pooled = work.at("pooled", [count, dim]);
  for (const [i, part] of run.parts.entries()) {
    const span = spans[i]!;
    ops.compress({
      k: ofPart(k, part),
      z: ofPart(z, part),
      ape: weights.ape,
      ring: ringOf(part.sequence),
      pooled: rows(pooled, span.row, span.count),
      start: part.start,
      m: ratio,
      overlap: width === 2 * dim,
    });
  }
  if (count === 0) return pooled;
  rmsNorm(run, pooled, weights.norm);
  ops.rope({ x: reshape(pooled, [count, 1, dim]), table: rope, sign: +1 });
  return pooled;
}

/** Packs each part's windows into its pages, except those that stored segments already hold. */
export function storeWindows(run: Run, block: Block, ratio: number, pooled: Tensor, pack: (rows: Tensor, place: Tensor) => void): void {
  const { spans } = run.emitted.get(ratio)!;
  for (const [i, { sequence }] of run.parts.entries()) {
    const span = spans[i]!;
    const known = Math.min(span.count, Math.max(0, sequence.stored / ratio - span.first));
    let row = span.row + known;
    for (const place of pageRows(sequence, block, span.first + known, span.count - known)) {
      const [count = 0] = place.shape;
      pack(rows(pooled, row, count), place);
      row += count;
    }
  }
}
