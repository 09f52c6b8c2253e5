import type { MoeWeights } from "../checkpoint/weights.ts";
import type { Tensor } from "../kernels.ts";
import type { Placed } from "../model.ts";
import { linear, type Run } from "./run.ts";

/**
 * Spec 2.7: the routed experts of each row plus the shared one.
 * x A [T, d] -> y A [T, d]; ids I32 [T] choose where routing is by token.
 */
export function mixtureOfExperts(run: Run, layer: number, weights: Placed<MoeWeights>, ids: Tensor, x: Tensor, y: Tensor): void {
  const { ops, work, rows: T } = run;
  const { experts: E, expertsPerToken: k, hidden: d, routedScaling, swigluLimit: limit } = run.model.config;
  const logits = work.at("gate", [T, E]);
  linear(run, x, weights.gate, logits);
  const idx = work.at("experts", [T, k]);
  const mix = work.at("expertWeights", [T, k]);
  const choice = weights.routing === "hash" ? { bias: null, table: weights.tid2eid, ids } : { bias: weights.bias, table: null, ids: null };
  ops.route({ logits, ...choice, idx, weights: mix, routedScaling });
  run.tap?.see("route_ids", layer, idx);
  run.tap?.see("route_weights", layer, mix);

  const routed = work.at("routed", [T, d]);
  const shared = work.at("shared", [T, d]);
  ops.experts({ x, idx, weights: mix, experts: weights.experts, y: routed, limit });
  ops.experts({ x, idx: null, weights: null, experts: weights.shared, y: shared, limit });
  ops.add({ a: routed, b: shared, y, repeat: 1 });
}
