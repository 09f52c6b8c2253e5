import { type Backend, bytesIn, floats, ints, type Operation, type Stream, type Tensor } from "../../../services/shared/engine/kernels.ts";
import { joined } from "../../../services/shared/runtime/joined.ts";

/**
 * One operation on fixed random inputs, cut anywhere into runs of rows. `run` does rows [from, to) on fresh or given
 * state and returns its outputs for those rows; runs are made in order, so state (rings) carries over as it does
 * between chunks.
 */
export interface Case {
  readonly operation: Operation;
  readonly label: string;
  readonly rows: number;
  /** Fresh copies of what the operation changes in place. */
  state(): readonly Tensor[];
  run(stream: Stream, state: readonly Tensor[], from: number, to: number): readonly Tensor[];
  /**
   * Replaces the comparison of output `i` with the reference where equal bits or nearness per value is not the claim.
   */
  readonly compare?: Readonly<Record<number, (actual: Output, expected: Output, all: readonly Output[]) => string | null>>;
}

/** One output, all rows together. */
export interface Output {
  readonly dtype: Tensor["dtype"];
  readonly width: number;
  readonly bytes: Uint8Array;
  readonly values: Float64Array;
}

export function runCase(backend: Backend, c: Case, runs: readonly (readonly [number, number])[]): readonly Output[] {
  const stream = backend.createStream();
  try {
    const state = c.state();
    const pieces = runs.map(([from, to]) => {
      const outputs = c.run(stream, state, from, to);
      stream.wait();
      return outputs;
    });
    const perOutput = pieces[0]!.map((_, i) => pieces.map((piece) => piece[i]!));
    return [...perOutput, ...state.map((t) => [t])].map(outputOf);
  } finally {
    stream.release();
  }
}

function outputOf(parts: readonly Tensor[]): Output {
  const { dtype, shape } = parts[0]!;
  return { dtype, width: shape.at(-1)!, bytes: Buffer.concat(parts.map(bytesIn)), values: joined(Float64Array, parts.map(valuesOf)) };
}

const valuesOf = (t: Tensor) => (t.dtype === "I32" ? ints(t) : t.dtype === "F32" || t.dtype === "BF16" ? floats(t) : bytesIn(t));

/** null, or how `actual` breaks the tolerance class (ls_tolerance in kernels.h). */
export function difference(tolerance: "bits" | "rel", actual: Output, expected: Output): string | null {
  return tolerance === "bits" ? sameBytes(actual, expected) : near(1e-5, actual, expected);
}

/** The largest value of a row. */
const largest = ({ width, values }: Output, row: number): number =>
  values.subarray(row * width, (row + 1) * width).reduce((most, v) => Math.max(most, Number.isFinite(v) ? Math.abs(v) : 0), 0);

/**
 * null, or the first value that is further from the expected one than `fraction` of its row's `scale` (and one step of
 * bf16).
 */
export function near(fraction: number, actual: Output, expected: Output, scale = largest): string | null {
  if (actual.values.length !== expected.values.length) return `${actual.values.length} values, expected ${expected.values.length}`;
  for (let row = 0; row * expected.width < expected.values.length; row++) {
    const [begin, end, most] = [row * expected.width, (row + 1) * expected.width, scale(expected, row)];
    for (let i = begin; i < end; i++) {
      const [y, ref] = [actual.values[i]!, expected.values[i]!];
      const bound = fraction * most + (actual.dtype === "BF16" ? bf16Step(Math.max(Math.abs(y), Math.abs(ref))) : 0);
      if (!(Object.is(y, ref) || Math.abs(y - ref) <= bound)) return `row ${row}, value ${i - begin}: ${y}, expected ${ref} +- ${bound}`;
    }
  }
  return null;
}

/** The distance between neighbours in bf16 at a magnitude. */
const bf16Step = (magnitude: number): number => (magnitude === 0 ? 0 : 2 ** (Math.floor(Math.log2(magnitude)) - 7));

export function sameBytes(actual: Output, expected: Output): string | null {
  if (actual.bytes.length !== expected.bytes.length) return `${actual.bytes.length} bytes, expected ${expected.bytes.length}`;
  if (Buffer.compare(actual.bytes, expected.bytes) === 0) return null;
  const at = actual.bytes.findIndex((byte, i) => byte !== expected.bytes[i]);
  return `byte ${at} is ${actual.bytes[at]}, expected ${expected.bytes[at]}`;
}
