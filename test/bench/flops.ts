import { layerKind, type ModelConfig } from "../../services/shared/engine/model-config.ts";

/** Floating-point operations of a forward pass, a multiply-add counted as two, by the shapes of the config. */
export interface Flops {
  /** What a token costs wherever it stands: linears, experts, hyper-connections, its window and its selected entries. */
  readonly dense: number;
  /** What all tokens of a prompt together cost because of those before them: index scores, and attention over every entry (HCA). */
  readonly scored: number;
}

export function flopsOf(config: ModelConfig, tokens: number): Flops {
  const layers = config.ratios.map((ratio) => layerFlops(config, ratio, tokens));
  return { dense: layers.reduce((sum, { dense }) => sum + dense * tokens, 0), scored: layers.reduce((sum, { scored }) => sum + scored, 0) };
}

/** `dense` for one token, `scored` for all. */
function layerFlops(c: ModelConfig, ratio: number, tokens: number): Flops {
  const kind = layerKind(ratio);
  const linears =
    c.hidden * (c.qLora + c.headDim) +
    c.qLora * c.heads * c.headDim +
    c.heads * c.headDim * c.oLora +
    c.oGroups * c.oLora * c.hidden +
    compressor(c, kind) +
    c.hidden * c.experts +
    3 * (c.expertsPerToken + 1) * c.hidden * c.intermediate;
  const streams = c.hcMult * c.hidden * (c.hcMult * (c.hcMult + 2) + c.hcMult);
  const attended = c.window + (kind === "csa" ? c.indexTopK : 0);
  const earlier = ratio === 0 ? 0 : (tokens * tokens) / (2 * ratio); // pairs of a token and an entry before it
  const scored = kind === "csa" ? 2 * c.indexHeads * c.indexDim * earlier : kind === "hca" ? attention(c) * earlier : 0;
  return { dense: 2 * (linears + 2 * streams) + attention(c) * attended, scored };
}

/** Of one query over one entry: its score, and its share of the sum. */
const attention = (c: ModelConfig): number => 4 * c.heads * c.headDim;

/** Multiply-adds a token: k and z of the compressor, doubled where windows overlap, and the indexer's queries and compressor. */
function compressor(c: ModelConfig, kind: ReturnType<typeof layerKind>): number {
  if (kind === "sliding") return 0;
  if (kind === "hca") return 2 * c.hidden * c.headDim;
  return 4 * c.hidden * (c.headDim + c.indexDim) + c.qLora * c.indexHeads * c.indexDim + c.hidden * c.indexHeads;
}
