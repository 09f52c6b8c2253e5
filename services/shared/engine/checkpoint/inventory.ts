import type { ModelConfig } from "../model-config.ts";
import { dsparkWeights, modelWeights, type WeightSource } from "./names.ts";
import { type StoredDtype, storedBytes } from "./safetensors.ts";
import type { TensorRef } from "./weights.ts";

export interface InventoryItem {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/**
 * The tensors of a released checkpoint of this config, drafting blocks included (spec 4.2): FP8 linears, `experts`
 * (FP4; FP8 in the Base models), BF16, F32, I64. Without quantization_config everything but the I64 tables is F32.
 */
export function inventory(config: ModelConfig, experts: "fp4" | "fp8" = config.expertDtype ?? "fp4"): readonly InventoryItem[] {
  const items: InventoryItem[] = [];
  const note = (name: string, dtype: StoredDtype, shape: readonly number[]): TensorRef => {
    items.push({ name, dtype, shape, bytes: storedBytes(dtype, shape) });
    return nowhere;
  };
  const plain = config.quantised ? "BF16" : "F32";
  const dtypes = { plain, f32: "F32", i64: "I64" } as const;
  const from: WeightSource = {
    tensor: (name, storage, shape) => note(name, dtypes[storage], shape),
    linear(name, storage, out, into) {
      const format = storage === "plain" || !config.quantised ? plain : storage === "fp8" || experts === "fp8" ? "fp8" : "fp4";
      if (format === "fp8") {
        note(`${name}.weight`, "F8_E4M3", [out, into]);
        note(`${name}.scale`, "F8_E8M0", fp8ScaleShape(out, into));
      } else if (format === "fp4") {
        note(`${name}.weight`, "I8", [out, into / 2]);
        note(`${name}.scale`, "F8_E8M0", fp4ScaleShape(out, into));
      } else note(`${name}.weight`, format, [out, into]);
      return { weight: nowhere, scale: null };
    },
  };
  modelWeights(config, from, config.mtpLayers > 0);
  if (config.dspark !== null) dsparkWeights(config, config.dspark, from);
  return items;
}

export const fp8ScaleShape = (out: number, into: number): readonly number[] => [Math.ceil(out / 128), Math.ceil(into / 128)];

export const fp4ScaleShape = (out: number, into: number): readonly number[] => [out, into / 32];

export interface Totals {
  readonly tensors: number;
  readonly bytes: number;
  readonly byDtype: Readonly<Partial<Record<StoredDtype, number>>>;
}

export function totals(items: Iterable<{ readonly dtype: StoredDtype; readonly bytes: number }>): Totals {
  const byDtype: Partial<Record<StoredDtype, number>> = {};
  let tensors = 0;
  let bytes = 0;
  for (const item of items) {
    tensors++;
    bytes += item.bytes;
    byDtype[item.dtype] = (byDtype[item.dtype] ?? 0) + 1;
  }
  return { tensors, bytes, byDtype };
}

/** Placeholder for a tensor that is missing or not looked at. */
export const nowhere: TensorRef = { name: "", shard: 0, dtype: "F32", shape: [], offset: 0 };
