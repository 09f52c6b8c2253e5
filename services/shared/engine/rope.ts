import type { ModelConfig } from "./model-config.ts";

type RopeConfig = Pick<ModelConfig, "rope" | "theta" | "compressTheta" | "yarn">;

/**
 * Angle per position of each rotated pair (spec 2.2): F32 [rope / 2].
 * Ratio 0 uses `theta` as it is, every other ratio `compressTheta` with YaRN.
 */
export function ropeFrequencies({ rope, theta, compressTheta, yarn }: RopeConfig, ratio: number): Float32Array {
  if (ratio === 0) return Float32Array.from({ length: rope / 2 }, (_, i) => theta ** ((-2 * i) / rope));

  // The pair that turns `beta` times in the original context. Pairs above `high` are interpolated, below `low` not.
  const pairOf = (beta: number) => (rope * Math.log(yarn.original / (beta * 2 * Math.PI))) / (2 * Math.log(compressTheta));
  const low = Math.max(Math.floor(pairOf(yarn.betaFast)), 0);
  const high = Math.min(Math.ceil(pairOf(yarn.betaSlow)), rope - 1);
  return Float32Array.from({ length: rope / 2 }, (_, i) => {
    const frequency = compressTheta ** ((-2 * i) / rope);
    const slow = Math.min(Math.max((i - low) / (high - low || 0.001), 0), 1);
    return (frequency / yarn.factor) * slow + frequency * (1 - slow);
  });
}
