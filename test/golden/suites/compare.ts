import type { SuiteResult } from "./result.ts";

/** One entry of a folder's tolerance.json. Absent = not bounded. */
export interface Bound {
  readonly max?: number;
  readonly rms?: number;
  readonly kl?: number;
  readonly argmax?: number;
  /** This share of the rows may exceed `max`, up to `max_excepted`. */
  readonly rows_excepted?: number;
  readonly max_excepted?: number;
}

export interface Pair {
  readonly name: string;
  readonly ours: Float32Array;
  readonly golden: Float32Array;
  readonly rowLength: number;
}

/** What was measured over all values and rows of all pairs. */
interface Measured {
  max: number;
  rms: number;
  rows: number;
  rowsAbove: number;
  /** Largest difference outside the excepted rows. */
  maxOrdinary: number;
}

/** Compares values under the bounds that speak of values: max, rms, and the excepted rows. */
export function compareValues(suite: string, bound: Bound, pairs: readonly Pair[]): SuiteResult {
  const measured = measure(pairs, bound.max ?? Number.POSITIVE_INFINITY);
  const failures = [...pairs.flatMap(lengthProblem), ...valueProblems(bound, measured)];
  if (pairs.length > 0 && bound.max === undefined && bound.rms === undefined) failures.push("tolerance.json bounds neither max nor rms");
  return result(suite, bound, pairs.length, measured, failures);
}

/** The same for logits, with the bounds that speak of distributions. */
export function compareLogits(suite: string, bound: Bound, pair: Pair): SuiteResult {
  const measured = measure([pair], bound.max ?? Number.POSITIVE_INFINITY);
  const failures = [...lengthProblem(pair), ...valueProblems(bound, measured)];
  const { kl, argmax } = distributions(pair);
  if (exceeds(kl, bound.kl)) failures.push(`mean KL ${kl.toExponential(2)}, at most ${bound.kl}`);
  if (bound.argmax !== undefined && !(argmax >= bound.argmax)) failures.push(`top-1 agrees in ${argmax}, at least ${bound.argmax}`);
  return result(suite, bound, 1, measured, failures);
}

/** Ids per row as sets; -1 pads. */
export function compareSets(suite: string, pairs: readonly Pair[]): SuiteResult {
  const failures: string[] = [];
  for (const { name, ours, golden, rowLength } of pairs) {
    for (let at = 0; at < golden.length; at += rowLength) {
      const [a, b] = [ours, golden].map((values) =>
        [...values.slice(at, at + rowLength)]
          .filter((id) => id >= 0)
          .sort((x, y) => x - y)
          .join(" "),
      );
      if (a !== b) failures.push(`${name} row ${at / rowLength}: {${a}} instead of {${b}}`);
    }
  }
  return { suite, compared: pairs.length, worst: failures.length, tolerance: "exact", failures };
}

function result(suite: string, bound: Bound, compared: number, measured: Measured, failures: readonly string[]): SuiteResult {
  const byMax = bound.max !== undefined;
  const worst = byMax ? (failures.length > 0 ? measured.max : measured.maxOrdinary) : measured.rms;
  return { suite, compared, worst, tolerance: (byMax ? bound.max : bound.rms) ?? Number.NaN, failures };
}

function valueProblems(bound: Bound, { max, rms, rows, rowsAbove }: Measured): string[] {
  const problems: string[] = [];
  const excepted = bound.rows_excepted ?? 0;
  if (rowsAbove > excepted * rows)
    problems.push(`${rowsAbove} of ${rows} rows differ by more than ${bound.max}, the largest by ${max.toExponential(2)}`);
  if (rowsAbove > 0 && exceeds(max, bound.max_excepted))
    problems.push(`an excepted row differs by ${max.toExponential(2)}, at most ${bound.max_excepted}`);
  if (exceeds(rms, bound.rms)) problems.push(`rms ${rms.toExponential(2)}, at most ${bound.rms}`);
  return problems;
}

/** NaN exceeds everything. */
const exceeds = (value: number, limit: number | undefined): boolean => limit !== undefined && !(value <= limit);

const lengthProblem = ({ name, ours, golden }: Pair): string[] =>
  ours.length === golden.length ? [] : [`${name}: ${ours.length} values instead of ${golden.length}`];

function measure(pairs: readonly Pair[], limit: number): Measured {
  const measured: Measured = { max: 0, rms: 0, rows: 0, rowsAbove: 0, maxOrdinary: 0 };
  let squares = 0;
  let count = 0;
  for (const { ours, golden, rowLength } of pairs) {
    for (let at = 0; at < golden.length; at += rowLength) {
      let worst = 0;
      for (let i = at; i < at + rowLength; i++) {
        const difference = distance(ours[i]!, golden[i]!);
        if (!(difference <= worst)) worst = difference;
        squares += difference ** 2;
        count++;
      }
      measured.rows++;
      if (!(worst <= measured.max)) measured.max = worst;
      if (!(worst <= limit)) measured.rowsAbove++;
      else if (worst > measured.maxOrdinary) measured.maxOrdinary = worst;
    }
  }
  measured.rms = Math.sqrt(squares / count);
  return measured;
}

/** Infinities mark what does not exist (an invisible score): they must be the same. */
const distance = (ours: number, golden: number): number => (ours === golden ? 0 : Math.abs(ours - golden));

function distributions({ ours, golden, rowLength }: Pair): { kl: number; argmax: number } {
  let kl = 0;
  let agree = 0;
  const rows = golden.length / rowLength;
  for (let at = 0; at < golden.length; at += rowLength) {
    const [a, b] = [ours, golden].map((values) => values.subarray(at, at + rowLength)) as [Float32Array, Float32Array];
    const [logA, logB] = [logSoftmax(a), logSoftmax(b)];
    for (let i = 0; i < rowLength; i++) kl += (Math.exp(logB[i]!) * (logB[i]! - logA[i]!)) / rows;
    if (a.indexOf(Math.max(...a)) === b.indexOf(Math.max(...b))) agree++;
  }
  return { kl, argmax: agree / rows };
}

function logSoftmax(logits: Float32Array): number[] {
  const max = Math.max(...logits);
  const sum = logits.reduce((total, value) => total + Math.exp(value - max), 0);
  return Array.from(logits, (value) => value - max - Math.log(sum));
}
