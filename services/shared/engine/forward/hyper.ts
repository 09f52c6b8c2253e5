import type { HyperWeights } from "../checkpoint/weights.ts";
import type { Tensor } from "../kernels.ts";
import type { Placed } from "../model.ts";
import { type Run, rmsNorm } from "./run.ts";

/**
 * Runs a sublayer inside its hyper-connection (spec 2.1): collapses the n streams
 * into its input, and spreads its output over them again. The sublayer maps the
 * normed x A [T, d] to y A [T, d]; the streams A [T, n, d] are updated in place.
 */
export function hyperConnected(
  run: Run,
  site: Placed<HyperWeights>,
  norm: Tensor,
  streams: Tensor,
  sublayer: (x: Tensor, y: Tensor) => void,
): void {
  const { ops, work, rows: T } = run;
  const { hidden: d, hcMult: n, hcEps, hcIterations: sinkhornIters, rmsEps } = run.model.config;
  const x = work.at("x", [T, d]);
  const y = work.at("y", [T, d]);
  const post = work.at("post", [T, n]);
  const comb = work.at("comb", [T, n, n]);
  ops.hcPre({ streams, ...site, x, post, comb, rmsEps, hcEps, sinkhornIters });
  rmsNorm(run, x, norm);
  sublayer(x, y);
  ops.hcPost({ y, streams, post, comb, out: streams });
}

/** The last collapse, without mixing back: streams A [R, n, d] -> A [R, d]. */
export function hyperHead(run: Run, site: Placed<HyperWeights>, streams: Tensor): Tensor {
  const { hidden, hcEps, rmsEps } = run.model.config;
  const h = run.work.at("collapsed", [streams.shape[0]!, hidden]);
  run.ops.hcHead({ streams, ...site, h, rmsEps, hcEps });
  return h;
}
