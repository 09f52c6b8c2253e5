import type { ModelConfig } from "../model-config.ts";

/**
 * Contradictions between the fields, one sentence each. `stored`: the ratios as the file has them, drafting blocks
 * included; null if unreadable. `name`: what the file calls a field. A field that could not be read is NaN here, which
 * makes comparisons false: nothing is reported twice.
 */
export function contradictions(
  c: ModelConfig,
  layers: number,
  stored: readonly number[] | null,
  name: (releaseKey: string) => string,
): readonly string[] {
  const rules = openRules();
  const atMost = (key: string, value: number, limitKey: string, limit: number) =>
    rules.forbid(value > limit, `${name(key)}: ${value}, but ${name(limitKey)} is ${limit}`);

  if (stored !== null) ratioRules(rules, stored, layers, name("compress_ratios"));
  rules.multiple(name("qk_rope_head_dim"), c.rope, 2);
  rules.multiple(name("num_attention_heads"), c.heads, c.oGroups);
  atMost("qk_rope_head_dim", c.rope, "head_dim", c.headDim);
  if (c.ratios.includes(4)) atMost("qk_rope_head_dim", c.rope, "index_head_dim", c.indexDim);
  atMost("sliding_window", c.window, "max_position_embeddings", c.contextTokens);
  atMost("num_experts_per_tok", c.expertsPerToken, "n_routed_experts", c.experts);
  atMost("num_hash_layers", c.hashLayers, "num_hidden_layers", layers);
  // Entries of a layer that selects, in the longest context. Every row of a chunk has room for index_topk selections.
  const entries = Math.floor(c.contextTokens / 4);
  rules.forbid(
    c.ratios.includes(4) && c.indexTopK > entries,
    `${name("index_topk")}: ${c.indexTopK}, but ${name("max_position_embeddings")} ${c.contextTokens} makes ${entries} entries to select from`,
  );
  rules.forbid(c.bos >= c.vocab, `bos_token_id: ${c.bos}, but vocab_size is ${c.vocab}`);
  rules.forbid(c.eos >= c.vocab, `eos_token_id: ${c.eos}, but vocab_size is ${c.vocab}`);
  if (c.quantised) blockRules(rules, c, name);
  return rules.broken;
}

type Rules = ReturnType<typeof openRules>;

function openRules() {
  const broken: string[] = [];
  const forbid = (violated: boolean, message: string) => {
    if (violated) broken.push(message);
  };
  const multiple = (what: string, value: number, of: number) => forbid(value % of > 0, `${what}: ${value}, must be a multiple of ${of}`);
  return { broken, forbid, multiple };
}

function ratioRules(rules: Rules, stored: readonly number[], layers: number, at: string): void {
  rules.forbid(stored.length < layers, `${at}: ${stored.length} entries for ${layers} layers`);
  const drafting = stored.slice(layers || stored.length);
  rules.forbid(
    drafting.some((ratio) => ratio !== 0),
    `${at}: the drafting blocks have ratios ${drafting.join(", ")}, must have 0`,
  );
}

/** What the block formats require of the dimensions (spec 7). */
function blockRules({ multiple, forbid }: Rules, c: ModelConfig, name: (releaseKey: string) => string): void {
  multiple(name("hidden_size"), c.hidden, 128);
  multiple(name("q_lora_rank"), c.qLora, 128);
  multiple(name("moe_intermediate_size"), c.intermediate, 128);
  multiple("heads x head_dim / o_groups", (c.heads * c.headDim) / c.oGroups, 128);
  multiple("o_groups x o_lora_rank", c.oGroups * c.oLora, 128);
  multiple("head_dim - qk_rope_head_dim", c.headDim - c.rope, 64);
  const powerOfTwo = Number.isInteger(Math.log2(c.indexDim)) && c.indexDim >= 32;
  forbid(
    c.ratios.includes(4) && c.indexDim > 0 && !powerOfTwo,
    `${name("index_head_dim")}: ${c.indexDim}, must be a power of two from 32 up`,
  );
}
