import { ServingError } from "../../runtime/errors.ts";
import { type Fields, isFields } from "../../runtime/json.ts";

/** A config.json under the keys of the HF release, whatever style it was written in (spec 1.1). */
export interface ConfigFields {
  /** Undefined where the file does not say. */
  value(releaseKey: string): unknown;
  /** What this file calls the field, for messages. */
  name(releaseKey: string): string;
}

/** Refuses models other than DeepSeek-V4 by name. Problems in a style's own lists go to `problems`. */
export function configFields(json: unknown, source: string, problems: string[]): ConfigFields {
  if (!isFields(json)) throw new ServingError("BAD_CHECKPOINT", `${source}: must be a JSON object`);
  refuseOthers(json, source);
  if (json.model_type === undefined) return inferenceFields(json);
  return json.layer_types === undefined && json.rope_parameters === undefined ? releaseFields(json) : transformersFields(json, problems);
}

const SERVED = "longshore serves deepseek_v4: DeepSeek-V4-Flash, V4-Pro, their Base models and V4-Flash-0731";

const others: Readonly<Record<string, string>> = {
  deepseek_v2: "DeepSeek-V2",
  deepseek_v3: "DeepSeek-V3",
  deepseek_v32: "DeepSeek-V3.2",
  deepseek_v41: "DeepSeek-V4.1",
  deepseek_v41_text: "DeepSeek-V4.1",
};

function refuseOthers(json: Fields, source: string): void {
  const type = json.model_type ?? inferenceFamily(json);
  if (type === "deepseek_v4") return;
  const problem =
    typeof type === "string" ? `model_type ${type}${others[type] ? ` (${others[type]})` : ""} is not served` : "model_type is missing";
  throw new ServingError("BAD_CHECKPOINT", `${source}: ${problem}; ${SERVED}`);
}

/** DeepSeek's own inference/config.json names no model; each generation has keys that the others lack (spec 8, 10). */
function inferenceFamily(json: Fields): string | undefined {
  if ("kv_lora_rank" in json) return "index_topk" in json ? "deepseek_v32" : "deepseek_v3";
  if ("kv_source_layer_ids" in json) return "deepseek_v41";
  return "n_layers" in json && "compress_ratios" in json ? "deepseek_v4" : undefined;
}

const releaseFields = (json: Fields): ConfigFields => ({
  value: (key) => (key === "rope_scaling.type" ? (at(json, key) ?? at(json, "rope_scaling.rope_type")) : at(json, key)),
  name: (key) => key,
});

const inferenceNames: Readonly<Record<string, string>> = {
  hidden_size: "dim",
  num_hidden_layers: "n_layers",
  num_hash_layers: "n_hash_layers",
  num_nextn_predict_layers: "n_mtp_layers",
  num_attention_heads: "n_heads",
  qk_rope_head_dim: "rope_head_dim",
  sliding_window: "window_size",
  moe_intermediate_size: "moe_inter_dim",
  num_experts_per_tok: "n_activated_experts",
  scoring_func: "score_func",
  routed_scaling_factor: "route_scale",
  rms_norm_eps: "norm_eps",
  "rope_scaling.factor": "rope_factor",
  "rope_scaling.original_max_position_embeddings": "original_seq_len",
  "rope_scaling.beta_fast": "beta_fast",
  "rope_scaling.beta_slow": "beta_slow",
};

/** What inference/config.json leaves to the code beside it (spec 1.1). */
const inferenceConstants: Readonly<Record<string, unknown>> = {
  vocab_size: 129280,
  bos_token_id: 0,
  eos_token_id: 1,
  "rope_scaling.type": "yarn",
};

function inferenceFields(json: Fields): ConfigFields {
  const name = (key: string) => inferenceNames[key] ?? key;
  const fixed: Record<string, unknown> = {
    ...inferenceConstants,
    max_position_embeddings: Number(json.original_seq_len) * Number(json.rope_factor),
    quantization_config: json.scale_fmt === undefined ? undefined : { quant_method: "fp8", scale_fmt: json.scale_fmt },
  };
  return { value: (key) => at(json, name(key)) ?? fixed[key], name };
}

const transformersNames: Readonly<Record<string, string>> = {
  compress_ratios: "layer_types",
  num_hash_layers: "mlp_layer_types",
  qk_rope_head_dim: "partial_rotary_factor",
  rope_theta: "rope_parameters.main.rope_theta",
  compress_rope_theta: "rope_parameters.compress.rope_theta",
  "rope_scaling.type": "rope_parameters.compress.rope_type",
  "rope_scaling.factor": "rope_parameters.compress.factor",
  "rope_scaling.original_max_position_embeddings": "rope_parameters.compress.original_max_position_embeddings",
  "rope_scaling.beta_fast": "rope_parameters.compress.beta_fast",
  "rope_scaling.beta_slow": "rope_parameters.compress.beta_slow",
  "rope_scaling.attention_factor": "rope_parameters.compress.attention_factor",
};

/**
 * transformers 5 rewrites three lists and the RoPE settings on load; an old key it kept must agree with the new one.
 */
function transformersFields(json: Fields, problems: string[]): ConfigFields {
  const rewritten: Record<string, unknown> = {
    compress_ratios: ratiosOfTypes(json, problems),
    num_hash_layers: hashLayersOfTypes(json, problems),
    qk_rope_head_dim: ropeOfFactor(json),
  };
  for (const [key, value] of Object.entries(rewritten)) {
    const kept = key === "compress_ratios" && Array.isArray(json[key]) ? json[key].slice(0, Number(json.num_hidden_layers)) : json[key];
    if (kept !== undefined && value !== undefined && JSON.stringify(kept) !== JSON.stringify(value))
      problems.push(`${key}: ${JSON.stringify(kept)} contradicts ${transformersNames[key]}, which means ${JSON.stringify(value)}`);
  }
  const name = (key: string) => transformersNames[key] ?? key;
  return { value: (key) => rewritten[key] ?? at(json, name(key)) ?? at(json, key), name };
}

function ratiosOfTypes(json: Fields, problems: string[]): number[] | undefined {
  const types = json.layer_types;
  if (!Array.isArray(types)) return undefined;
  const rate = (type: string) => Number(at(json, `compress_rates.${type}`));
  const csa = rate("compressed_sparse_attention");
  const hca = rate("heavily_compressed_attention");
  const ratios = types.map(
    (type) => ({ sliding_attention: 0, compressed_sparse_attention: csa, heavily_compressed_attention: hca })[String(type)],
  );
  for (const [layer, ratio] of ratios.entries())
    if (ratio === undefined) problems.push(`layer_types[${layer}]: ${JSON.stringify(types[layer])} is no attention of DeepSeek-V4`);
  if (types.includes("compressed_sparse_attention") && csa !== 4)
    problems.push(`compress_rates.compressed_sparse_attention: ${csa}, but sparse attention is defined for 4 only`);
  if (types.includes("heavily_compressed_attention") && (hca === 4 || !(hca > 0)))
    problems.push(`compress_rates.heavily_compressed_attention: ${hca}, must be a ratio other than 0 and 4`);
  return ratios.map((ratio) => ratio ?? 0);
}

function hashLayersOfTypes(json: Fields, problems: string[]): number | undefined {
  const types = json.mlp_layer_types;
  if (!Array.isArray(types)) return undefined;
  const hashed = types.filter((type) => type === "hash_moe").length;
  if (types.length !== json.num_hidden_layers || types.some((type, layer) => type !== (layer < hashed ? "hash_moe" : "moe")))
    problems.push('mlp_layer_types: must name every layer, first those that are "hash_moe", then those that are "moe"');
  return hashed;
}

function ropeOfFactor(json: Fields): number | undefined {
  const factor = json.partial_rotary_factor ?? at(json, "rope_parameters.main.partial_rotary_factor");
  return factor === undefined ? undefined : Math.round(Number(factor) * Number(json.head_dim));
}

const at = (json: unknown, path: string): unknown =>
  path.split(".").reduce<unknown>((value, key) => (isFields(value) ? value[key] : undefined), json);
