import { fp4ScaleShape, fp8ScaleShape, nowhere } from "./inventory.ts";
import type { Storage, WeightSource } from "./names.ts";
import type { StoredDtype, StoredTensor } from "./safetensors.ts";
import type { Linear, TensorRef, WeightDtype } from "./weights.ts";

export interface Located extends StoredTensor {
  readonly shard: number;
}

/** A weight source that records which tensors were asked for, and what is wrong with them. */
export interface Matching extends WeightSource {
  /** Asked for and present. */
  readonly used: ReadonlyMap<string, Located>;
  readonly missing: readonly string[];
  /** Present, but of another dtype or shape: one sentence each. */
  readonly misshaped: readonly string[];
}

/**
 * Answers from the shards. A tensor at fault is noted and answered with a placeholder, so that one pass finds them all.
 */
export function matching(tensors: ReadonlyMap<string, Located>): Matching {
  const used = new Map<string, Located>();
  const missing: string[] = [];
  const misshaped: string[] = [];

  const take = (name: string, dtypes: readonly StoredDtype[], shape: (dtype: StoredDtype) => readonly number[]): Located | null => {
    const found = tensors.get(name);
    if (found === undefined) {
      missing.push(name);
      return null;
    }
    used.set(name, found);
    const expected = shape(dtypes.includes(found.dtype) ? found.dtype : dtypes[0]!);
    if (dtypes.includes(found.dtype) && equal(found.shape, expected)) return found;
    misshaped.push(`${name}: ${found.dtype} [${found.shape}], expected ${dtypes.join(" or ")} [${expected}]`);
    return null;
  };

  return {
    used,
    missing,
    misshaped,
    tensor: (name, storage, shape) => refTo(take(name, tensorDtypes[storage], () => shape)),
    linear(name, storage, out, into): Linear {
      const weight = take(`${name}.weight`, linearDtypes[storage], (dtype) => (dtype === "I8" ? [out, into / 2] : [out, into]));
      if (weight?.dtype === "F8_E4M3")
        return { weight: refTo(weight), scale: refTo(take(`${name}.scale`, ["F8_E8M0"], () => fp8ScaleShape(out, into))) };
      if (weight?.dtype === "I8")
        return {
          weight: { ...refTo(weight), dtype: "F4_E2M1", shape: [out, into] },
          scale: refTo(take(`${name}.scale`, ["F8_E8M0"], () => fp4ScaleShape(out, into))),
        };
      return { weight: refTo(weight), scale: null };
    },
  };
}

/** The release's dtype comes first. */
const tensorDtypes: Readonly<Record<Storage, readonly StoredDtype[]>> = { plain: ["BF16", "F32"], f32: ["F32"], i64: ["I64"] };

const linearDtypes = {
  plain: ["BF16", "F32"],
  fp8: ["F8_E4M3", "BF16", "F32"],
  expert: ["I8", "F8_E4M3", "BF16", "F32"],
} as const satisfies Record<string, readonly StoredDtype[]>;

const refTo = (tensor: Located | null): TensorRef =>
  tensor === null
    ? nowhere
    : { name: tensor.name, shard: tensor.shard, dtype: tensor.dtype as WeightDtype, shape: tensor.shape, offset: tensor.offset };

const equal = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((extent, axis) => extent === b[axis]);
