import { ropeFrequencies } from "../../../services/shared/engine/rope.ts";
import type { Bench } from "./bench.ts";
import type { SuiteResult } from "./result.ts";

export interface MathCases {
  readonly rope: {
    readonly positions: readonly number[];
    readonly tables: readonly RopeCase[];
    readonly apply: readonly {
      readonly table: string;
      readonly position: number;
      readonly in: readonly number[];
      readonly out: readonly number[];
      readonly inverse: readonly number[];
    }[];
  };
  readonly sinkhorn: readonly {
    readonly n: number;
    readonly iters: number;
    readonly eps: number;
    readonly logits: readonly (readonly number[])[];
    readonly out: readonly (readonly number[])[];
  }[];
  readonly hc: HyperCase;
  readonly sqrt_softplus: { readonly in: readonly number[]; readonly out: readonly number[] };
  readonly hadamard: readonly { readonly in: readonly number[]; readonly out: readonly number[] }[];
}

interface RopeCase {
  readonly name: string;
  readonly config: {
    readonly rd: number;
    readonly theta?: number;
    readonly ctheta?: number;
    readonly orig?: number;
    readonly factor?: number;
    readonly bf?: number;
    readonly bs?: number;
  };
  readonly freqs: readonly number[];
  readonly pairs: readonly number[];
  readonly angle_fp32: readonly (readonly number[])[];
}

interface HyperCase {
  readonly config: { readonly hc: number; readonly d: number; readonly eps: number; readonly hceps: number; readonly iters: number };
  readonly fn: readonly (readonly number[])[];
  readonly base: readonly number[];
  readonly scale: readonly number[];
  readonly stream: readonly (readonly number[])[];
  readonly pre_out: readonly number[];
  readonly post: readonly number[];
  readonly comb: readonly (readonly number[])[];
  readonly sublayer_out: readonly number[];
  readonly stream_out: readonly (readonly number[])[];
  readonly head_fn: readonly (readonly number[])[];
  readonly head_base: readonly number[];
  readonly head_scale: readonly number[];
  readonly head_out: readonly number[];
}

/** README of the golden data: 1e-6 for everything that is computed in float32. */
const TOLERANCE = 1e-6;

/** The largest of many differences. */
class Close {
  #worst = 0;
  #compared = 0;
  readonly #failures: string[] = [];

  /** `allowance`: what the inputs' own rounding explains. */
  near(name: string, ours: ArrayLike<number>, golden: ArrayLike<number>, allowance: (i: number) => number = () => 0): void {
    if (ours.length !== golden.length) this.#failures.push(`${name}: ${ours.length} values instead of ${golden.length}`);
    for (let i = 0; i < golden.length; i++) {
      this.#compared++;
      const difference = Math.max(0, Math.abs(ours[i]! - golden[i]!) - allowance(i));
      if (!(difference <= this.#worst)) this.#worst = difference;
      if (!(difference <= TOLERANCE)) this.#failures.push(`${name}[${i}]: ${ours[i]} instead of ${golden[i]}`);
    }
  }

  result(suite: string): SuiteResult {
    return { suite, compared: this.#compared, worst: this.#worst, tolerance: TOLERANCE, failures: this.#failures };
  }
}

/** Frequencies (relative), tables against the float32 angles, and rotations, where the angle's rounding is allowed for. */
export function rope(bench: Bench, { rope: { positions, tables, apply } }: MathCases): SuiteResult[] {
  const [frequencies, table, rotation] = [new Close(), new Close(), new Close()];
  for (const golden of tables) {
    const ours = frequenciesOf(golden);
    frequencies.near(
      golden.name,
      ours.map((f, i) => f / golden.freqs[i]!),
      ours.map(() => 1),
    );
    const values = bench.read(ropeTable(bench, ours, positions));
    for (const [row, angles] of golden.angle_fp32.entries()) {
      const at = (pair: number, half: number) => values[(row * ours.length + pair) * 2 + half]!;
      table.near(
        `${golden.name} cos at ${positions[row]}`,
        golden.pairs.map((pair) => at(pair, 0)),
        angles.map(Math.cos),
      );
      table.near(
        `${golden.name} sin at ${positions[row]}`,
        golden.pairs.map((pair) => at(pair, 1)),
        angles.map(Math.sin),
      );
    }
  }
  for (const { table: name, position, in: x, out, inverse } of apply) {
    const frequency = frequenciesOf(tables.find((candidate) => candidate.name === name)!);
    const rotated = (sign: number) => {
      const y = bench.f32(x, [1, 1, x.length]);
      bench.ops.rope({ x: y, table: ropeTable(bench, frequency, [position]), sign });
      return bench.read(y);
    };
    const plain = x.length - 2 * frequency.length;
    const allowance = (i: number) => (i < plain ? 0 : position * frequency[(i - plain) >> 1]! * 2 ** -22);
    rotation.near(`${name} at ${position}`, rotated(+1), out, allowance);
    rotation.near(`${name} at ${position}, inverse`, rotated(-1), inverse, allowance);
  }
  return [frequencies.result("rope frequencies"), table.result("rope tables"), rotation.result("rope")];
}

function frequenciesOf({ config: { rd, theta = 1, ctheta = 1, orig = 1, factor = 1, bf = 1, bs = 1 } }: RopeCase): Float32Array {
  const yarn = { factor, original: orig, betaFast: bf, betaSlow: bs };
  return ropeFrequencies({ rope: rd, theta, compressTheta: ctheta, yarn }, ctheta === 1 ? 0 : 1);
}

function ropeTable(bench: Bench, frequencies: Float32Array, positions: readonly number[]) {
  const table = bench.zeros("F32", [positions.length, frequencies.length, 2]);
  bench.ops.ropeTable({ positions: bench.i32(positions), freqs: bench.f32(frequencies), table });
  return table;
}

/** With fn = 0 the mixing logits are the base alone. */
export function sinkhorn(bench: Bench, { sinkhorn: cases }: MathCases): SuiteResult {
  const close = new Close();
  for (const [i, { n, iters, eps, logits, out }] of cases.entries()) {
    const rows = (2 + n) * n;
    const base = [...new Array<number>(2 * n).fill(0), ...logits.flat()];
    const site = { fn: bench.zeros("F32", [rows, n * D]), base: bench.f32(base), scale: bench.f32([1, 1, 1]) };
    const { comb } = hcPre(bench, bench.f32(new Array<number>(n * D).fill(1), [1, n, D]), site, {
      rmsEps: 1e-6,
      hcEps: eps,
      sinkhornIters: iters,
    });
    close.near(`case ${i}`, comb, out.flat());
  }
  return close.result("sinkhorn");
}

const D = 16;

export function hyperConnection(bench: Bench, { hc: golden }: MathCases): SuiteResult {
  const { hc: n, d, eps: rmsEps, hceps: hcEps, iters: sinkhornIters } = golden.config;
  const close = new Close();
  const streams = bench.f32(golden.stream.flat(), [1, n, d]);
  const site = { fn: bench.f32(golden.fn.flat(), [(2 + n) * n, n * d]), base: bench.f32(golden.base), scale: bench.f32(golden.scale) };
  const { x, post, comb } = hcPre(bench, streams, site, { rmsEps, hcEps, sinkhornIters });
  close.near("pre_out", x, golden.pre_out);
  close.near("post", post, golden.post);
  close.near("comb", comb, golden.comb.flat());

  const out = bench.zeros("F32", [1, n, d]);
  const mixed = { post: bench.f32(post, [1, n]), comb: bench.f32(comb, [1, n, n]) };
  bench.ops.hcPost({ y: bench.f32(golden.sublayer_out, [1, d]), streams, ...mixed, out });
  close.near("stream_out", bench.read(out), golden.stream_out.flat());

  const h = bench.zeros("F32", [1, d]);
  const head = { fn: bench.f32(golden.head_fn.flat(), [n, n * d]), base: bench.f32(golden.head_base), scale: bench.f32(golden.head_scale) };
  bench.ops.hcHead({ streams, ...head, h, rmsEps, hcEps });
  close.near("head_out", bench.read(h), golden.head_out);
  return close.result("hc");
}

type Site = { readonly fn: ReturnType<Bench["f32"]>; readonly base: ReturnType<Bench["f32"]>; readonly scale: ReturnType<Bench["f32"]> };

function hcPre(
  bench: Bench,
  streams: ReturnType<Bench["f32"]>,
  site: Site,
  options: { rmsEps: number; hcEps: number; sinkhornIters: number },
) {
  const [, n = 0, d = 0] = streams.shape;
  const [x, post, comb] = [bench.zeros("F32", [1, d]), bench.zeros("F32", [1, n]), bench.zeros("F32", [1, n, n])] as const;
  bench.ops.hcPre({ streams, ...site, x, post, comb, ...options });
  return { x: bench.read(x), post: bench.read(post), comb: bench.read(comb) };
}

/** Through the normalised weights of two experts, one of them at 0, whose score is known. Relative. */
export function sqrtSoftplus(bench: Bench, { sqrt_softplus: golden }: MathCases): SuiteResult {
  const close = new Close();
  const known = Math.sqrt(Math.log(2));
  const ours = golden.in.map((value, i) => {
    const [idx, weights] = [bench.zeros("I32", [1, 2]), bench.zeros("F32", [1, 2])];
    bench.ops.route({ logits: bench.f32([value, 0], [1, 2]), bias: null, table: null, ids: null, idx, weights, routedScaling: 1 });
    const [w = 0, w0 = 0] = bench.read(weights);
    return ((w / w0) * known) / golden.out[i]!;
  });
  close.near(
    "score",
    ours,
    ours.map(() => 1),
  );
  return close.result("sqrt_softplus");
}

/** Keys are transformed and then rounded to FP4, so the transform is known to half a step. Short cases lie in the first channels of a longer row. */
export function hadamard(bench: Bench, { hadamard: cases }: MathCases): SuiteResult {
  const close = new Close();
  for (const { in: values, out } of cases) {
    const dim = Math.max(values.length, 32);
    const packed = bench.packKey(Float32Array.from({ length: dim }, (_, i) => values[i] ?? 0));
    const shrink = Math.sqrt(values.length / dim);
    const golden = Float32Array.from({ length: dim }, (_, i) => out[i % out.length]! * shrink);
    const scale = (i: number) => 2 ** (packed[dim / 2 + Math.floor(i / 32)]! - 127);
    close.near(
      `${values.length} channels`,
      bench.unpackKey(packed, dim),
      golden,
      (i) => halfStep(Math.abs(golden[i]!) / scale(i)) * scale(i),
    );
  }
  return close.result("hadamard");
}

const halfStep = (share: number): number => (share <= 2 ? 0.25 : share <= 4 ? 0.5 : 1);
