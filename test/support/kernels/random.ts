import { bytesIn, count, type Dtype, type Tensor } from "../../../services/shared/engine/kernels.ts";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { Dice } from "../dice.ts";
import { from, zeros } from "./owned.ts";

/** Random operands from one seed: SEED=... in the environment replays a failure, whose message names it. */
export class Draw extends Dice {
  readonly seed: number;

  constructor(seed: number) {
    super(seededRandom(seed));
    this.seed = seed;
  }

  /** Roughly normal, times `magnitude`, with exact zeros and negative zeros among them. */
  float(magnitude = 1): number {
    if (this.whole(0, 40) === 0) return this.chance() ? 0 : -0;
    let sum = 0;
    for (let i = 0; i < 4; i++) sum += this.upTo(1) - 0.5;
    return sum * 1.7 * magnitude;
  }

  floats(dtype: "F32" | "BF16", shape: readonly number[], magnitude = 1): Tensor {
    const values = new Float32Array(count(shape)).map(() => this.float(magnitude));
    return dtype === "F32"
      ? from("F32", shape, values)
      : from("BF16", shape, new Uint16Array(new Uint32Array(values.buffer).map((bits) => bits >>> 16)));
  }

  ints(shape: readonly number[], min: number, max: number): Tensor {
    return from(
      "I32",
      shape,
      Int32Array.from({ length: count(shape) }, () => this.whole(min, max)),
    );
  }

  /** Any bytes for packed formats, except E4M3's two NaNs. */
  bytes(dtype: Dtype, shape: readonly number[]): Tensor {
    const t = zeros(dtype, shape);
    const bytes = bytesIn(t);
    for (let i = 0; i < bytes.length; i++) {
      const byte = this.whole(0, 255);
      bytes[i] = dtype === "F8_E4M3" && (byte & 0x7f) === 0x7f ? byte & 0xfe : byte;
    }
    return t;
  }

  /** E8M0 around 2^exponent. */
  scales(shape: readonly number[], exponent: number): Tensor {
    return from(
      "F8_E8M0",
      shape,
      Uint8Array.from({ length: count(shape) }, () => 127 + exponent + this.whole(-2, 2)),
    );
  }

  /** A permutation of 0 .. length - 1. */
  order(length: number): number[] {
    const items = Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i--) {
      const j = this.whole(0, i);
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  }
}

/** Cuts [0, length) into random runs. */
export function cuts(draw: Draw, length: number): [number, number][] {
  const runs: [number, number][] = [];
  for (let start = 0; start < length; ) {
    const end = Math.min(length, start + draw.whole(1, Math.max(1, Math.ceil(length / 2))));
    runs.push([start, end]);
    start = end;
  }
  return runs;
}
