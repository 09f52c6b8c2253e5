import { ServingError } from "../../runtime/errors.ts";
import { isFields } from "../../runtime/json.ts";
import type { Dspark, ModelConfig } from "../model-config.ts";
import { type ConfigReader, configReader } from "./config-reader.ts";
import { contradictions } from "./config-rules.ts";
import { type ConfigFields, configFields } from "./config-styles.ts";

/** Throws one BAD_CHECKPOINT naming everything missing, out of range or contradictory. `source` begins the message. */
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
    quantised: isFields(fields.value("quantization_config")),
  };
}

const DSPARK_STAGES = 3;

/**
 * The HF config of 0731 may still count one MTP block, so the dspark keys decide;
 * inference/config.json counts the stages (spec 1.2).
 */
function readDspark(reader: ConfigReader, { value }: ConfigFields): Dspark | null {
  if (value("dspark_block_size") === undefined) return value("num_nextn_predict_layers") === DSPARK_STAGES ? dsparkReleased : null;
  return {
    stages: DSPARK_STAGES,
    targets: reader.wholes("dspark_target_layer_ids")?.length ?? 0,
    markovRank: reader.whole("dspark_markov_rank"),
  };
}

const dsparkReleased: Dspark = { stages: DSPARK_STAGES, targets: 3, markovRank: 256 };

/** Refuses forms of the architecture that a config can express but no released model uses. */
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
