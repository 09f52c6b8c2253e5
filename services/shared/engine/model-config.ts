/**
 * A config.json of any style (spec 1.1), checked and in the spec's terms. Equal ModelConfigs describe the same model.
 */
export interface ModelConfig {
  /** Which effort words and which drafting block: the April release, or the final one of 07-31 (spec 1.2). */
  readonly release: "preview" | "0731";
  readonly vocab: number;
  readonly hidden: number;
  readonly heads: number;
  /** NoPE channels first, then `rope` rotated ones. */
  readonly headDim: number;
  readonly rope: number;
  readonly qLora: number;
  readonly oGroups: number;
  readonly oLora: number;
  readonly window: number;
  /**
   * Compression ratio of each layer: 0 sliding window only, 4 CSA, any other HCA. Drafting blocks (0) are not listed.
   */
  readonly ratios: readonly number[];
  /** RoPE base of layers with ratio 0. */
  readonly theta: number;
  /** RoPE base of all others, with `yarn`. */
  readonly compressTheta: number;
  readonly yarn: Yarn;
  readonly indexHeads: number;
  readonly indexDim: number;
  readonly indexTopK: number;
  readonly experts: number;
  readonly expertsPerToken: number;
  readonly intermediate: number;
  readonly routedScaling: number;
  /** Layers 0..hashLayers-1 route by token id. */
  readonly hashLayers: number;
  readonly swigluLimit: number;
  readonly hcMult: number;
  readonly hcIterations: number;
  readonly hcEps: number;
  readonly rmsEps: number;
  /** MTP blocks of the preview release: 0 or 1. */
  readonly mtpLayers: number;
  /** Drafting stages of the final release, recognised and not used yet. */
  readonly dspark: Dspark | null;
  readonly bos: number;
  readonly eos: number;
  readonly contextTokens: number;
  /** What the config says of the routed experts. The tensors decide (spec 4.4). */
  readonly expertDtype: "fp4" | "fp8" | null;
  /**
   * FP8 linears in 128x128 blocks. Such models were trained with quantised KV and index keys, and serve so by default.
   */
  readonly quantised: boolean;
}

interface Yarn {
  readonly factor: number;
  readonly original: number;
  readonly betaFast: number;
  readonly betaSlow: number;
}

export interface Dspark {
  readonly stages: number;
  readonly targets: number;
  readonly markovRank: number;
}

export type LayerKind = "sliding" | "csa" | "hca";

/** Only ratio 4 overlaps and is indexed; every other ratio above 0 behaves like 128 (spec, Notation). */
export const layerKind = (ratio: number): LayerKind => (ratio === 0 ? "sliding" : ratio === 4 ? "csa" : "hca");
