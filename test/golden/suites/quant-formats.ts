import { bytesIn } from "../../../services/shared/engine/kernels.ts";
import type { Bench } from "./bench.ts";
import type { SuiteResult } from "./result.ts";

/** null stands for NaN. */
type Decoded = readonly (number | null)[];

export interface FormatCases {
  readonly e4m3: { readonly decode: Decoded; readonly encode_in_bits: readonly number[]; readonly encode_out: readonly number[] };
  readonly e2m1: {
    readonly decode: Decoded;
    readonly encode_in_bits: readonly number[];
    readonly encode_out: readonly number[];
    readonly unpack: { readonly byte: readonly number[]; readonly low_then_high: readonly (readonly number[])[] };
  };
  readonly e8m0: { readonly decode: Decoded; readonly encode_in: readonly number[]; readonly encode_out: readonly number[] };
  readonly bf16: { readonly in_bits: readonly number[]; readonly out_bits16: readonly number[] };
  readonly fp8_fake_64: FakeCases;
  readonly fp8_fake_128: FakeCases;
  readonly fp4_fake_32: FakeCases;
}

export interface FakeCases {
  readonly block: number;
  readonly cases: readonly {
    readonly name: string;
    readonly in: readonly number[];
    readonly out: readonly number[];
    readonly scale_exponent: readonly number[];
  }[];
}

const ONE = 127; // the E8M0 byte of 2^0
const E4M3_MAX = 448;
const E2M1_MAX = 6;

/** Counts equal values, telling -0 from 0 and taking NaN for null. */
class Exact {
  compared = 0;
  readonly failures: string[] = [];

  equal(name: string, ours: number, golden: number | null, zeros: "zeros have a sign" | "zeros have no sign" = "zeros have a sign"): void {
    this.compared++;
    const same = Object.is(ours, golden ?? Number.NaN) || (zeros === "zeros have no sign" && ours === golden);
    if (!same) this.failures.push(`${name}: ${ours} instead of ${golden}`);
  }

  result(suite: string): SuiteResult {
    return { suite, compared: this.compared, worst: this.failures.length, tolerance: "exact", failures: this.failures };
  }
}

/** As weights, where NaN occurs, and as stored rows, where it cannot. A scale is 1 where the block's largest value is the format's own. Beyond that value no scale of ours saturates, so there is nothing to compare. */
export function e4m3(bench: Bench, { e4m3: golden }: FormatCases): SuiteResult {
  const exact = new Exact();
  for (const [code, value] of bench.weightValues(golden.decode.length).entries())
    exact.equal(`weight ${code}`, value, golden.decode[code] ?? null, "zeros have no sign");
  for (let code = 0; code < 256; code += 64) {
    const codes = Array.from({ length: 64 }, (_, i) => code + i);
    for (const [i, value] of bench.kvValues(codes, ONE).entries())
      if (golden.decode[code + i] !== null) exact.equal(`row ${code + i}`, value, golden.decode[code + i]!);
  }
  for (const [i, bits] of golden.encode_in_bits.entries()) {
    const value = fromBits(bits);
    if (Math.abs(value) <= E4M3_MAX) exact.equal(`encode ${value}`, bench.packKv([value, E4M3_MAX]).codes[0]!, golden.encode_out[i]!);
  }
  return exact.result("e4m3");
}

/** Encoded as the scales of FP4 blocks, which reach from 2^-126 up to what a float32 can hold 48 times (6, and 8 for the impulse). */
export function e8m0(bench: Bench, { e8m0: golden }: FormatCases): SuiteResult {
  const exact = new Exact();
  const codeOfOne = 0x38;
  for (const [byte, value] of golden.decode.entries()) exact.equal(`decode ${byte}`, bench.kvValues([codeOfOne], byte)[0]!, value);
  for (const [i, value] of golden.encode_in.entries()) {
    const row = impulse(E2M1_MAX * value);
    if (value >= 2 ** -126 && Number.isFinite(row[0])) exact.equal(`encode ${value}`, bench.packKey(row).at(-1)!, golden.encode_out[i]!);
  }
  return exact.result("e8m0");
}

export function e2m1(bench: Bench, { e2m1: golden }: FormatCases): SuiteResult {
  const exact = new Exact();
  const unpacked = (byte: number) => bench.unpackKey(Uint8Array.of(...new Array<number>(16).fill(byte), ONE), 32);
  for (const [code, value] of golden.decode.entries()) exact.equal(`decode ${code}`, unpacked(code)[0]!, value);
  for (const [i, byte] of golden.unpack.byte.entries())
    for (const [half, value] of golden.unpack.low_then_high[i]!.entries())
      exact.equal(`half ${half} of ${byte}`, unpacked(byte)[half]!, value);
  for (const [i, bits] of golden.encode_in_bits.entries()) {
    const value = fromBits(bits);
    if (Math.abs(value) <= E2M1_MAX && !Object.is(value, -0))
      exact.equal(`encode ${value}`, keyOf(bench, value, 1).code, golden.encode_out[i]!);
  }
  return exact.result("e2m1");
}

export function bf16(bench: Bench, { bf16: golden }: FormatCases): SuiteResult {
  const exact = new Exact();
  const y = bench.zeros("BF16", [golden.in_bits.length]);
  bench.ops.cast({ x: bench.f32(golden.in_bits.map(fromBits)), y });
  bench.ops.wait();
  const ours = new Uint16Array(bytesIn(y).slice().buffer);
  for (const [i, bits] of golden.out_bits16.entries()) exact.equal(`of bits ${golden.in_bits[i]}`, ours[i]!, bits);
  return exact.result("bf16");
}

/** In pieces of 63 values with the block's largest beside them, which fixes the scale: blocks of any length through a row of 64. */
export function fp8Fake(bench: Bench, suite: string, { block, cases }: FakeCases): SuiteResult {
  const exact = new Exact();
  for (const { name, in: values, out, scale_exponent } of cases) {
    for (const [b, exponent] of scale_exponent.entries()) {
      const [x, y] = [values, out].map((all) => all.slice(b * block, (b + 1) * block)) as [number[], number[]];
      const largest = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
      for (let at = 0; at < block; at += 63) {
        const piece = x.slice(at, at + 63);
        const packed = bench.packKv([...piece, largest]);
        exact.equal(`${name}: scale`, packed.scale - ONE, exponent);
        for (const [i] of piece.entries()) exact.equal(`${name}: value ${at + i}`, packed.values[i]!, y[at + i]!);
      }
    }
  }
  return exact.result(suite);
}

export function fp4Fake(bench: Bench, { fp4_fake_32: { block, cases }, e2m1: { decode } }: FormatCases): SuiteResult {
  const exact = new Exact();
  for (const { name, in: values, out, scale_exponent } of cases) {
    for (const [i, value] of values.entries()) {
      const exponent = scale_exponent[Math.floor(i / block)]!;
      const { code, scale } = keyOf(bench, value, 2 ** exponent);
      exact.equal(`${name}: value ${i}`, decode[code]! * 2 ** exponent, out[i]!, "zeros have no sign");
      exact.equal(`${name}: scale ${i}`, scale - ONE, exponent);
    }
    for (const [b, exponent] of scale_exponent.entries()) {
      const largest = values.slice(b * block, (b + 1) * block).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      exact.equal(`${name}: scale of the largest`, bench.packKey(impulse(largest)).at(-1)! - ONE, exponent);
    }
  }
  return exact.result("fp4_fake_32");
}

/**
 * The code of one value in a block of the given scale. Keys are packed behind a Hadamard transform, so the row is chosen to make the
 * transform exact: an impulse of 8v gives v everywhere in 64 channels; two equal values in the upper half add w to the even channels of
 * the lower half and nothing to the odd ones, and w brings the block's largest value into the range of the scale. Only -0 cannot be had: sums
 * lose its sign.
 */
function keyOf(bench: Bench, value: number, scale: number): { code: number; scale: number } {
  const row = impulse(value);
  const share = Math.abs(value) / scale;
  const w = share > 3 ? 0 : share > 2 ? 3 : 4;
  if (value !== 0 || scale > 2 ** -126) row.fill((value < 0 ? -1 : 1) * 4 * w * scale, 32, 34);
  const packed = bench.packKey(row);
  return { code: packed[0]! >> 4, scale: packed[32]! };
}

function impulse(value: number): Float32Array {
  const row = new Float32Array(64);
  row[0] = 8 * value;
  return row;
}

const fromBits = (bits: number): number => new Float32Array(Uint32Array.of(bits).buffer)[0]!;
