/**
 * One tensor where it lies in the checkpoint. Packed FP4 appears as the kernels see it:
 * dtype F4_E2M1 and a shape in values, not bytes.
 */
export interface TensorRef {
  readonly name: string;
  /** Index into the checkpoint's list of shards. */
  readonly shard: number;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. Not necessarily aligned. */
  readonly offset: number;
}

export type WeightDtype = "F32" | "BF16" | "F8_E4M3" | "F8_E8M0" | "F4_E2M1" | "I64";

/**
 * y = x · Wᵀ, weight [out, in]. The scale is E8M0: [ceil(out/128), ceil(in/128)] beside F8_E4M3, [out, in/32] beside
 * F4_E2M1, null beside F32 and BF16.
 */
export interface Linear {
  readonly weight: TensorRef;
  readonly scale: TensorRef | null;
}

/**
 * The checkpoint in the shape of the forward pass, which therefore spells no tensor name (names.ts does). n = hc_mult.
 */
export interface ModelWeights {
  /** [vocab, d]; F32 or BF16, like `head` and every norm and unquantised linear. */
  readonly embed: TensorRef;
  readonly head: Linear;
  readonly norm: TensorRef;
  readonly hcHead: HyperWeights;
  readonly layers: readonly LayerWeights[];
  readonly mtp: MtpWeights | null;
}

/** F32. A site of a layer: fn [(2+n)n, n·d], base [(2+n)n], scale [3]. The head: fn [n, n·d], base [n], scale [1]. */
export interface HyperWeights {
  readonly fn: TensorRef;
  readonly base: TensorRef;
  readonly scale: TensorRef;
}

export interface LayerWeights {
  readonly hcAttn: HyperWeights;
  readonly attnNorm: TensorRef;
  readonly attn: AttentionWeights;
  readonly hcFfn: HyperWeights;
  readonly ffnNorm: TensorRef;
  readonly moe: MoeWeights;
}

export type AttentionWeights = AttentionProjections &
  (
    | { readonly kind: "sliding"; readonly ratio: 0 }
    | { readonly kind: "csa"; readonly ratio: 4; readonly compressor: CompressorWeights; readonly indexer: IndexerWeights }
    | { readonly kind: "hca"; readonly ratio: number; readonly compressor: CompressorWeights }
  );

export interface AttentionProjections {
  readonly wqA: Linear;
  readonly qNorm: TensorRef;
  readonly wqB: Linear;
  readonly wkv: Linear;
  readonly kvNorm: TensorRef;
  /** F32 [heads]. */
  readonly sink: TensorRef;
  /** Block diagonal: [groups · oLora, heads · headDim / groups]. */
  readonly woA: Linear;
  readonly woB: Linear;
}

/** Width = dim, twice that for ratio 4 (overlap). */
export interface CompressorWeights {
  /** F32 [ratio, width]. */
  readonly ape: TensorRef;
  readonly wkv: Linear;
  readonly wgate: Linear;
  /** [dim]. */
  readonly norm: TensorRef;
}

export interface IndexerWeights {
  readonly wqB: Linear;
  readonly weightsProj: Linear;
  readonly compressor: CompressorWeights;
}

export type MoeWeights = {
  readonly gate: Linear;
  readonly experts: readonly ExpertWeights[];
  readonly shared: ExpertWeights;
} & (
  | { readonly routing: "hash" /** I64 [vocab, expertsPerToken]. */; readonly tid2eid: TensorRef }
  | { readonly routing: "scored" /** F32 [experts]. */; readonly bias: TensorRef }
);

/** w1 = gate, w3 = up, w2 = down. */
export interface ExpertWeights {
  readonly w1: Linear;
  readonly w2: Linear;
  readonly w3: Linear;
}

export interface MtpWeights {
  /** Ratio 0, scored routing. */
  readonly layer: LayerWeights;
  readonly eProj: Linear;
  readonly hProj: Linear;
  readonly enorm: TensorRef;
  readonly hnorm: TensorRef;
  readonly norm: TensorRef;
  readonly hcHead: HyperWeights;
}
