import { expect, test } from "vitest";
import { parseModelConfig } from "../../../../../services/shared/engine/checkpoint/config.ts";
import type { ModelConfig } from "../../../../../services/shared/engine/model-config.ts";
import type { ServingError } from "../../../../../services/shared/runtime/errors.ts";
import { releasedConfig } from "../../../../support/synthetic.ts";

type Json = Record<string, unknown>;
const release = releasedConfig("configs/v4-flash.json");

/** The same model as transformers 5 writes it (spec 1.1). */
function transformersStyle({
  compress_ratios,
  num_hash_layers,
  qk_rope_head_dim,
  rope_theta,
  rope_scaling,
  compress_rope_theta,
  ...rest
}: Json): Json {
  const kinds = { 0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention" } as Record<number, string>;
  const { type, ...yarn } = rope_scaling as Json;
  const layers = rest.num_hidden_layers as number;
  return {
    ...rest,
    layer_types: (compress_ratios as number[]).slice(0, layers).map((ratio) => kinds[ratio]),
    compress_rates: { compressed_sparse_attention: 4, heavily_compressed_attention: 128 },
    mlp_layer_types: Array.from({ length: layers }, (_, layer) => (layer < (num_hash_layers as number) ? "hash_moe" : "moe")),
    partial_rotary_factor: (qk_rope_head_dim as number) / (rest.head_dim as number),
    rope_parameters: {
      main: { rope_type: "default", rope_theta },
      compress: { rope_type: type, rope_theta: compress_rope_theta, attention_factor: 1.0, ...yarn },
    },
  };
}

/** The same model as DeepSeek's inference/config.json has it (spec 1.1). */
const inferenceStyle = (ratios: unknown): Json => ({
  dim: 4096,
  moe_inter_dim: 2048,
  n_layers: 43,
  n_hash_layers: 3,
  n_mtp_layers: 1,
  n_heads: 64,
  n_routed_experts: 256,
  n_shared_experts: 1,
  n_activated_experts: 6,
  score_func: "sqrtsoftplus",
  route_scale: 1.5,
  swiglu_limit: 10.0,
  q_lora_rank: 1024,
  head_dim: 512,
  rope_head_dim: 64,
  norm_eps: 1e-6,
  o_groups: 8,
  o_lora_rank: 1024,
  window_size: 128,
  compress_ratios: ratios,
  compress_rope_theta: 160000.0,
  original_seq_len: 65536,
  rope_theta: 10000.0,
  rope_factor: 16,
  beta_fast: 32,
  beta_slow: 1,
  index_n_heads: 64,
  index_head_dim: 128,
  index_topk: 512,
  hc_mult: 4,
  hc_sinkhorn_iters: 20,
  hc_eps: 1e-6,
  scale_fmt: "ue8m0",
  scale_dtype: "fp8",
  expert_dtype: "fp4",
});

test("V4-Flash in the spec's terms, drafting ratio apart", () => {
  const config = parseModelConfig(release);
  expect(config.ratios).toEqual([0, 0, ...Array.from({ length: 20 }, () => [4, 128]).flat(), 4]);
  expect(config).toMatchObject({ hidden: 4096, heads: 64, headDim: 512, rope: 64, qLora: 1024, oGroups: 8, oLora: 1024, window: 128 });
  expect(config).toMatchObject({ theta: 10000, compressTheta: 160000, yarn: { factor: 16, original: 65536, betaFast: 32, betaSlow: 1 } });
  expect(config).toMatchObject({
    release: "preview",
    mtpLayers: 1,
    dspark: null,
    expertDtype: "fp4",
    quantised: true,
    contextTokens: 2 ** 20,
  });
});

test.each([
  ["transformers 5", transformersStyle(release)],
  ["inference/config.json", inferenceStyle(release.compress_ratios)],
])("the style of %s means the same model", (_, json) => {
  expect(parseModelConfig(json)).toEqual(parseModelConfig(release));
});

test("the release of 07-31 is told by its drafting block, whatever it says of MTP layers", () => {
  const expected = { release: "0731", mtpLayers: 0, dspark: { stages: 3, targets: 3, markovRank: 256 } } satisfies Partial<ModelConfig>;
  expect(parseModelConfig(releasedConfig("configs/v4-flash-0731.json"))).toMatchObject(expected);
  const inference = { ...inferenceStyle([...(release.compress_ratios as number[]), 0, 0]), n_mtp_layers: 3 };
  expect(parseModelConfig(inference)).toMatchObject(expected);
});

test("V4-Pro leaves out expert_dtype: the tensors decide", () => {
  expect(parseModelConfig(releasedConfig("configs/v4-pro.json"))).toMatchObject({ expertDtype: null, hashLayers: 3, routedScaling: 2.5 });
});

test.each([
  [{ model_type: "deepseek_v41" }, "model_type deepseek_v41 (DeepSeek-V4.1) is not served"],
  [{ model_type: "deepseek_v32" }, "model_type deepseek_v32 (DeepSeek-V3.2) is not served"],
  [{ model_type: "deepseek_v3" }, "model_type deepseek_v3 (DeepSeek-V3) is not served"],
  [{ model_type: "llama" }, "model_type llama is not served"],
  [{ n_layers: 61, kv_lora_rank: 512, index_topk: 2048 }, "model_type deepseek_v32 (DeepSeek-V3.2) is not served"],
  [{ n_layers: 40, compress_ratios: [], kv_source_layer_ids: [2] }, "model_type deepseek_v41 (DeepSeek-V4.1) is not served"],
  [{}, "model_type is missing"],
])("%j is refused by name, with what is served", (json, expected) => {
  const { message } = refusal(json);
  expect(message).toContain(expected);
  expect(message).toContain("longshore serves deepseek_v4: DeepSeek-V4-Flash, V4-Pro");
});

test("every missing field is named, and nothing is said twice", () => {
  for (const key of Object.keys(release).filter((key) => required(key))) {
    const { [key]: _, ...rest } = release;
    const lines = problems(rest);
    expect(lines.length, `${key}: ${lines}`).toBeGreaterThan(0);
    for (const line of lines) expect(line).toMatch(new RegExp(`^${key}(\\.\\w+)?: missing, must be`));
  }
});

/** What the release states and longshore does not need, or takes for granted. */
const optional = new Set(
  "model_type architectures num_key_value_heads n_shared_experts scoring_func topk_method norm_topk_prob tie_word_embeddings attention_bias hidden_act initializer_range attention_dropout expert_dtype quantization_config torch_dtype".split(
    " ",
  ),
);
const required = (key: string) => !optional.has(key);

test("all contradictions come in one error", () => {
  const lines = problems({
    ...release,
    num_attention_heads: 60,
    qk_rope_head_dim: 63,
    num_experts_per_tok: 300,
    hidden_act: "gelu",
    eos_token_id: 129280,
    rope_scaling: { type: "linear", factor: 16, original_max_position_embeddings: 65536, beta_fast: 32, beta_slow: 1 },
    index_head_dim: 96,
  });
  expect(lines).toEqual([
    'hidden_act: "gelu", must be "silu", the only form longshore serves',
    'rope_scaling.type: "linear", must be "yarn", the only form longshore serves',
    "qk_rope_head_dim: 63, must be a multiple of 2",
    "num_attention_heads: 60, must be a multiple of 8",
    "num_experts_per_tok: 300, but n_routed_experts is 256",
    "eos_token_id: 129280, but vocab_size is 129280",
    "head_dim - qk_rope_head_dim: 449, must be a multiple of 64",
    "index_head_dim: 96, must be a power of two from 32 up",
  ]);
});

test.each<[string, Json, string]>([
  ["too few ratios", { compress_ratios: [0, 4] }, "compress_ratios: 2 entries for 43 layers"],
  [
    "a compressed drafting block",
    { compress_ratios: Array(44).fill(4) },
    "compress_ratios: the drafting blocks have ratios 4, must have 0",
  ],
  ["no ratios", { compress_ratios: [0, "4"] }, 'compress_ratios: [0,"4"], must be a list of whole numbers'],
  [
    "other blocks",
    { quantization_config: { quant_method: "fp8", weight_block_size: [32, 32] } },
    "quantization_config.weight_block_size: [32,32]",
  ],
  ["a width without blocks", { hidden_size: 4000 }, "hidden_size: 4000, must be a multiple of 128"],
  ["a size from nowhere", { n_routed_experts: 1e9 }, "n_routed_experts: 1000000000, must be a whole number from 1 to 8192"],
  [
    "more entries than a context has",
    { index_topk: 1_025, max_position_embeddings: 4_099 },
    "index_topk: 1025, but max_position_embeddings 4099 makes 1024 entries to select from",
  ],
  [
    "a window longer than the longest context",
    { sliding_window: 4_097, max_position_embeddings: 4_096 },
    "sliding_window: 4097, but max_position_embeddings is 4096",
  ],
])("%s", (_, change, expected) => {
  expect(problems({ ...release, ...change }).join("\n")).toContain(expected);
});

test.each<[string, Json, string]>([
  ["two ends of sequence", { eos_token_id: [1, 2] }, "eos_token_id: [1,2], must be one token id"],
  ["ratios that contradict the types", { compress_ratios: Array(44).fill(0) }, "contradicts layer_types"],
  [
    "sparse attention of another ratio",
    { compress_rates: { compressed_sparse_attention: 2, heavily_compressed_attention: 128 } },
    "for 4 only",
  ],
  ["hashing in the middle", { mlp_layer_types: ["moe", ...Array(42).fill("hash_moe")] }, 'first those that are "hash_moe"'],
  [
    "an unknown attention",
    { layer_types: Array(43).fill("full_attention") },
    'layer_types[0]: "full_attention" is no attention of DeepSeek-V4',
  ],
])("in the style of transformers: %s", (_, change, expected) => {
  expect(problems({ ...transformersStyle(release), ...change }).join("\n")).toContain(expected);
});

test("what a model without layers of ratio 4 would select says nothing", () => {
  const compress_ratios = (release.compress_ratios as number[]).map((ratio) => (ratio === 4 ? 128 : ratio));
  expect(parseModelConfig({ ...release, compress_ratios, max_position_embeddings: 1_024 })).toMatchObject({ indexTopK: 512 });
});

test("a model may select every entry of its longest context", () => {
  expect(parseModelConfig({ ...release, index_topk: 1_024, max_position_embeddings: 4_099 })).toMatchObject({ indexTopK: 1_024 });
});

test("tiny dimensions are served where nothing is quantised", () => {
  const tiny = { ...release, hidden_size: 32, head_dim: 16, qk_rope_head_dim: 8, q_lora_rank: 16, o_lora_rank: 8, index_head_dim: 16 };
  const { quantization_config: _, ...plain } = tiny as Json;
  expect(parseModelConfig(plain)).toMatchObject({ hidden: 32, quantised: false });
  expect(problems(tiny)).not.toEqual([]);
});

function refusal(json: unknown): ServingError {
  try {
    parseModelConfig(json);
  } catch (error) {
    expect(error).toMatchObject({ code: "BAD_CHECKPOINT" });
    return error as ServingError;
  }
  throw new Error("it was accepted");
}

const problems = (json: unknown): string[] => refusal(json).message.split("\n  ").slice(1);
