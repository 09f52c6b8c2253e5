import type { Dspark, ModelConfig } from "../model-config.ts";
import type {
  AttentionProjections,
  AttentionWeights,
  CompressorWeights,
  ExpertWeights,
  HyperWeights,
  IndexerWeights,
  LayerWeights,
  Linear,
  ModelWeights,
  MoeWeights,
  MtpWeights,
  TensorRef,
} from "./weights.ts";

/**
 * How a released checkpoint stores a tensor that is not a quantised linear.
 * "plain" is BF16 and may be F32; the others are fixed.
 */
export type Storage = "plain" | "f32" | "i64";

/** Looks tensors up in a checkpoint, or notes them in an inventory: each by name, with its shape by the config. */
export interface WeightSource {
  tensor(name: string, storage: Storage, shape: readonly number[]): TensorRef;
  /**
   * NAME.weight [out, into] and NAME.scale.
   * Released as FP8 ("fp8"), as FP4 or FP8 ("expert") or unquantised ("plain"); all three may be plain.
   */
  linear(name: string, storage: "plain" | "fp8" | "expert", out: number, into: number): Linear;
}

/** Asks for every name of the release (spec 4.2) once, and puts it where the forward pass expects it. */
export function modelWeights(config: ModelConfig, from: WeightSource, withMtp: boolean): ModelWeights {
  const { vocab, hidden: d } = config;
  return {
    embed: from.tensor("embed.weight", "plain", [vocab, d]),
    head: from.linear("head", "plain", vocab, d),
    norm: from.tensor("norm.weight", "plain", [d]),
    hcHead: hyperHead(config, from, ""),
    layers: config.ratios.map((ratio, layer) => layerWeights(config, from, `layers.${layer}.`, ratio, layer < config.hashLayers)),
    mtp: withMtp ? mtpWeights(config, from, "mtp.0.") : null,
  };
}

/** Spec 9.1. Embedding and head are the model's own. */
function mtpWeights(config: ModelConfig, from: WeightSource, prefix: string): MtpWeights {
  const d = config.hidden;
  const norm = (name: string) => from.tensor(`${prefix}${name}.weight`, "plain", [d]);
  return {
    layer: layerWeights(config, from, prefix, 0, false),
    eProj: from.linear(`${prefix}e_proj`, "fp8", d, d),
    hProj: from.linear(`${prefix}h_proj`, "fp8", d, d),
    enorm: norm("enorm"),
    hnorm: norm("hnorm"),
    norm: norm("norm"),
    hcHead: hyperHead(config, from, prefix),
  };
}

function layerWeights(config: ModelConfig, from: WeightSource, prefix: string, ratio: number, hashed: boolean): LayerWeights {
  const d = config.hidden;
  return {
    hcAttn: hyperSite(config, from, `${prefix}hc_attn`),
    attnNorm: from.tensor(`${prefix}attn_norm.weight`, "plain", [d]),
    attn: attentionWeights(config, from, `${prefix}attn.`, ratio),
    hcFfn: hyperSite(config, from, `${prefix}hc_ffn`),
    ffnNorm: from.tensor(`${prefix}ffn_norm.weight`, "plain", [d]),
    moe: moeWeights(config, from, `${prefix}ffn.`, hashed),
  };
}

function attentionWeights(config: ModelConfig, from: WeightSource, prefix: string, ratio: number): AttentionWeights {
  const projections = attentionProjections(config, from, prefix);
  if (ratio === 0) return { ...projections, kind: "sliding", ratio };
  const compressor = compressorWeights(config, from, `${prefix}compressor.`, ratio, config.headDim);
  if (ratio !== 4) return { ...projections, kind: "hca", ratio, compressor };
  return { ...projections, kind: "csa", ratio, compressor, indexer: indexerWeights(config, from, `${prefix}indexer.`) };
}

function attentionProjections(config: ModelConfig, from: WeightSource, prefix: string): AttentionProjections {
  const { hidden: d, heads, headDim, qLora, oGroups, oLora } = config;
  return {
    wqA: from.linear(`${prefix}wq_a`, "fp8", qLora, d),
    qNorm: from.tensor(`${prefix}q_norm.weight`, "plain", [qLora]),
    wqB: from.linear(`${prefix}wq_b`, "fp8", heads * headDim, qLora),
    wkv: from.linear(`${prefix}wkv`, "fp8", headDim, d),
    kvNorm: from.tensor(`${prefix}kv_norm.weight`, "plain", [headDim]),
    sink: from.tensor(`${prefix}attn_sink`, "f32", [heads]),
    woA: from.linear(`${prefix}wo_a`, "fp8", oGroups * oLora, (heads * headDim) / oGroups),
    woB: from.linear(`${prefix}wo_b`, "fp8", d, oGroups * oLora),
  };
}

function compressorWeights({ hidden: d }: ModelConfig, from: WeightSource, prefix: string, ratio: number, dim: number): CompressorWeights {
  const width = ratio === 4 ? 2 * dim : dim;
  return {
    ape: from.tensor(`${prefix}ape`, "f32", [ratio, width]),
    wkv: from.linear(`${prefix}wkv`, "plain", width, d),
    wgate: from.linear(`${prefix}wgate`, "plain", width, d),
    norm: from.tensor(`${prefix}norm.weight`, "plain", [dim]),
  };
}

function indexerWeights(config: ModelConfig, from: WeightSource, prefix: string): IndexerWeights {
  const { indexHeads, indexDim, qLora, hidden } = config;
  return {
    wqB: from.linear(`${prefix}wq_b`, "fp8", indexHeads * indexDim, qLora),
    weightsProj: from.linear(`${prefix}weights_proj`, "plain", indexHeads, hidden),
    compressor: compressorWeights(config, from, `${prefix}compressor.`, 4, indexDim),
  };
}

function moeWeights(config: ModelConfig, from: WeightSource, prefix: string, hashed: boolean): MoeWeights {
  const { experts, expertsPerToken, vocab, hidden: d, intermediate } = config;
  const expert = (name: string, storage: "fp8" | "expert"): ExpertWeights => ({
    w1: from.linear(`${prefix}${name}.w1`, storage, intermediate, d),
    w2: from.linear(`${prefix}${name}.w2`, storage, d, intermediate),
    w3: from.linear(`${prefix}${name}.w3`, storage, intermediate, d),
  });
  const common = {
    gate: from.linear(`${prefix}gate`, "plain", experts, d),
    experts: Array.from({ length: experts }, (_, e) => expert(`experts.${e}`, "expert")),
    shared: expert("shared_experts", "fp8"),
  };
  return hashed
    ? { ...common, routing: "hash", tid2eid: from.tensor(`${prefix}gate.tid2eid`, "i64", [vocab, expertsPerToken]) }
    : { ...common, routing: "scored", bias: from.tensor(`${prefix}gate.bias`, "f32", [experts]) };
}

function hyperSite({ hcMult: n, hidden: d }: ModelConfig, from: WeightSource, prefix: string): HyperWeights {
  return hyper(from, prefix, (2 + n) * n, n * d, 3);
}

function hyperHead({ hcMult: n, hidden: d }: ModelConfig, from: WeightSource, prefix: string): HyperWeights {
  return hyper(from, `${prefix}hc_head`, n, n * d, 1);
}

const hyper = (from: WeightSource, prefix: string, mixes: number, width: number, scales: number): HyperWeights => ({
  fn: from.tensor(`${prefix}_fn`, "f32", [mixes, width]),
  base: from.tensor(`${prefix}_base`, "f32", [mixes]),
  scale: from.tensor(`${prefix}_scale`, "f32", [scales]),
});

/** Asks for the drafting block of 0731 (spec 4.2), so that its tensors are recognised. */
export function dsparkWeights(config: ModelConfig, dspark: Dspark, from: WeightSource): void {
  const { hidden: d, vocab } = config;
  const { stages, targets, markovRank } = dspark;
  const last = `mtp.${stages - 1}.`;
  for (let stage = 0; stage < stages; stage++) layerWeights(config, from, `mtp.${stage}.`, 0, false);
  from.linear("mtp.0.main_proj", "fp8", d, targets * d);
  from.tensor("mtp.0.main_norm.weight", "plain", [d]);
  from.tensor(`${last}norm.weight`, "plain", [d]);
  hyperHead(config, from, last);
  from.linear(`${last}markov_head.markov_w1`, "plain", vocab, markovRank);
  from.linear(`${last}markov_head.markov_w2`, "plain", vocab, markovRank);
  from.linear(`${last}confidence_head.proj`, "plain", 1, d + markovRank);
}
