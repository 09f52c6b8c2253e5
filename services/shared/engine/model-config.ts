import { ServingError } from "../runtime/errors.ts";
import { type ConfigReader, configReader } from "./checkpoint/config-reader.ts";
import { contradictions } from "./checkpoint/config-rules.ts";
import { type ConfigFields, configFields, isObject } from "./checkpoint/config-styles.ts";

/** A config.json of any style (spec 1.1), checked and in the spec's terms. Two configs that are equal here describe the same model. */
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
  /** Compression ratio of each layer: 0 sliding window only, 4 CSA, any other HCA. The drafting blocks are not among them; theirs is 0. */
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
  /** FP8 linears 128x128; such a model was trained with quantised KV and index keys, and is served with them by default. */
  readonly quantised: boolean;
}

export interface Yarn {
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

/** Throws one BAD_CHECKPOINT that names everything missing, out of range or contradictory. `source` begins the message. */
export function parseModelConfig(json: unknown, source = "config.json"): ModelConfig {
  const problems: string[] = [];
  const fields = configFields(json, source, problems);
  const reader = configReader(fields, problems);
  checkFixed(reader);
  const layers = reader.whole("num_hidden_layers", { max: 1024 });
  const stored = reader.wholes("compress_ratios");
  const config = readConfig(reader, fields, stored?.slice(0, layers || 0) ?? []);
  problems.push(...contradictions(config, layers, stored, fields.name));
  if (problems.length > 0) throw new ServingError("BAD_CHECKPOINT", `${source}: cannot be served\n  ${problems.join("\n  ")}`);
  return config;
}

function readConfig(reader: ConfigReader, fields: ConfigFields, ratios: readonly number[]): ModelConfig {
  const dspark = readDspark(reader, fields);
  const expertDtype = fields.value("expert_dtype");
  return {
    release: dspark === null ? "preview" : "0731",
    vocab: reader.whole("vocab_size"),
    hidden: reader.whole("hidden_size"),
    heads: reader.whole("num_attention_heads"),
    headDim: reader.whole("head_dim"),
    rope: reader.whole("qk_rope_head_dim", { min: 2 }),
    qLora: reader.whole("q_lora_rank"),
    oGroups: reader.whole("o_groups"),
    oLora: reader.whole("o_lora_rank"),
    window: reader.whole("sliding_window"),
    ratios,
    theta: reader.positive("rope_theta"),
    compressTheta: reader.positive("compress_rope_theta"),
    yarn: {
      factor: reader.positive("rope_scaling.factor"),
      original: reader.whole("rope_scaling.original_max_position_embeddings"),
      betaFast: reader.positive("rope_scaling.beta_fast"),
      betaSlow: reader.positive("rope_scaling.beta_slow"),
    },
    indexHeads: reader.whole("index_n_heads"),
    indexDim: reader.whole("index_head_dim"),
    indexTopK: reader.whole("index_topk"),
    experts: reader.whole("n_routed_experts", { max: 8192 }),
    expertsPerToken: reader.whole("num_experts_per_tok"),
    intermediate: reader.whole("moe_intermediate_size"),
    routedScaling: reader.positive("routed_scaling_factor"),
    hashLayers: reader.whole("num_hash_layers", { min: 0 }),
    swigluLimit: reader.positive("swiglu_limit"),
    hcMult: reader.whole("hc_mult", { max: 16 }),
    hcIterations: reader.whole("hc_sinkhorn_iters", { max: 1000 }),
    hcEps: reader.positive("hc_eps"),
    rmsEps: reader.positive("rms_norm_eps"),
    mtpLayers: dspark === null ? reader.whole("num_nextn_predict_layers", { min: 0, max: 1 }) : 0,
    dspark,
    bos: reader.token("bos_token_id"),
    eos: reader.token("eos_token_id"),
    contextTokens: reader.whole("max_position_embeddings"),
    expertDtype: expertDtype === "fp4" || expertDtype === "fp8" ? expertDtype : null,
    quantised: isObject(fields.value("quantization_config")),
  };
}

const DSPARK_STAGES = 3;

/** The HF config of 0731 may still count one MTP block, so the dspark keys decide; inference/config.json counts the stages (spec 1.2). */
function readDspark(reader: ConfigReader, { value }: ConfigFields): Dspark | null {
  if (value("dspark_block_size") === undefined) return value("num_nextn_predict_layers") === DSPARK_STAGES ? dsparkReleased : null;
  return {
    stages: DSPARK_STAGES,
    targets: reader.wholes("dspark_target_layer_ids")?.length ?? 0,
    markovRank: reader.whole("dspark_markov_rank"),
  };
}

const dsparkReleased: Dspark = { stages: DSPARK_STAGES, targets: 3, markovRank: 256 };

/** Forms of the architecture that a config can express and no released model uses. */
function checkFixed(reader: ConfigReader): void {
  reader.fixed("num_key_value_heads", 1);
  reader.fixed("n_shared_experts", 1);
  reader.fixed("scoring_func", "sqrtsoftplus");
  reader.fixed("topk_method", "noaux_tc");
  reader.fixed("norm_topk_prob", true);
  reader.fixed("tie_word_embeddings", false);
  reader.fixed("attention_bias", false);
  reader.fixed("hidden_act", "silu");
  reader.fixed("rope_scaling.type", "yarn");
  reader.fixed("rope_scaling.attention_factor", 1);
  reader.fixed("quantization_config.quant_method", "fp8");
  reader.fixed("quantization_config.fmt", "e4m3");
  reader.fixed("quantization_config.scale_fmt", "ue8m0");
  reader.fixed("quantization_config.weight_block_size", [128, 128]);
}
