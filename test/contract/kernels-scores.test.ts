import { afterAll, afterEach, describe, expect, test } from "vitest";
import { bytesIn, floats, ints, keyBytes, listPaths, openBackend, type Tensor } from "../../services/shared/engine/kernels.ts";
import { paged } from "../support/kernels/cases/parts.ts";
import { from, releaseAll, zeros } from "../support/kernels/owned.ts";
import { Draw } from "../support/kernels/random.ts";

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
afterEach(releaseAll);

/**
 * FP4 rows as kernels may meet them: the scales of a row lie near each other, but for the share `odd` of rows where they may lie apart. A call's rows are of
 * one size, anywhere that E8M0 goes; their values are any, or all as large as they get.
 */
function fp4Rows(draw: Draw, rows: number, dim: number, odd: number): Tensor {
  const [bytes, size] = [keyBytes("fp4", dim), draw.pick([draw.whole(118, 132), draw.whole(90, 166), draw.whole(0, 255)])];
  const [all, largest] = [draw.bytes("U8", [rows, bytes]), draw.whole(0, 3) === 0];
  for (let row = 0; row < rows; row++) {
    const lies = bytesIn(all).subarray(row * bytes, (row + 1) * bytes);
    const isOdd = draw.whole(1, 1000) <= 1000 * odd;
    const [lowest, spread] = isOdd
      ? [draw.pick([size, size, size, draw.pick([0, 1, 254, 255])]), draw.whole(3, 7)]
      : [size + draw.whole(0, 3), 3];
    if (largest) lies.fill(draw.pick([0x77, 0xff]), 0, dim / 2);
    for (let i = dim / 2; i < bytes; i++) lies[i] = Math.min(255, lowest + draw.whole(0, spread));
  }
  return all;
}

/** Of a call's size, anywhere that F32 goes; the share `odd` of them is what no checkpoint should hold. */
function headWeights(draw: Draw, shape: readonly number[], odd: number): Tensor {
  const size = 2 ** draw.pick([0, draw.whole(-45, 45), draw.whole(-149, 127)]);
  const strange = draw.chance() ? [0, -0, 2 ** 100, -(2 ** -100)] : [Infinity, -Infinity, Number.NaN, 2 ** -149];
  const weights = Array.from({ length: shape.reduce((a, b) => a * b) }, () =>
    draw.whole(1, 1000) <= 1000 * odd ? draw.pick(strange) : draw.float() * size,
  );
  return from("F32", shape, Float32Array.from(weights));
}

function selectCall(draw: Draw) {
  const [h, dim] = [draw.pick([1, 4, draw.whole(1, 66), 64]), draw.pick([32, 64, 96, 128, 128, 160, draw.pick([1024, 1056, 4096])])];
  const many = draw.whole(0, 5) === 0 && dim <= 160; // so many keys that threads share those of one row, or more rows than a task has
  const T = draw.pick([1, many && h <= 4 ? draw.whole(65, 90) : draw.whole(1, dim >= 1024 ? 2 : 12)]);
  const start = many && T === 1 ? draw.whole(4096, 4300) : draw.whole(0, dim >= 1024 ? 40 : 180);
  const [m, K] = [many ? 1 : draw.pick([1, 4]), draw.pick([draw.whole(1, 20), 300])];
  const [visible, odd] = [Math.floor((start + T) / m), () => draw.pick([0, 0, 0.002, 0.05])];
  const keys = paged(draw, fp4Rows(draw, Math.max(1, visible), dim, odd()));
  const iq = { ...fp4Rows(draw, T * h, dim, odd()), shape: [T, h, keyBytes("fp4", dim)] };
  const [iw, scale] = [headWeights(draw, [T, h], odd()), draw.pick([0.5, 1])];
  return { label: `[${T}, ${h}, ${dim}] at ${start}, m ${m}`, T, K, S: visible + 1, start, m, dim, keys, iq, iw, scale };
}

/** Every scale at a border with every other and with every weight: sixteen keys of each, and three heads that weigh much the same. */
function borderCall(draw: Draw) {
  const scales = [0, 1, 64, 95, 96, 97, 127, 159, 160, 161, 192, 254, 255];
  const weights = [
    2 ** -149,
    2 ** -126,
    2 ** -100,
    2 ** -73,
    2 ** -72,
    2 ** -40,
    -1,
    2 ** 40,
    2 ** 72,
    2 ** 73,
    2 ** 100,
    2 ** 127,
    -0,
    Number.NaN,
    Infinity,
  ];
  const [h, dim, bytes, T, S] = [3, 32, keyBytes("fp4", 32), scales.length * weights.length, scales.length * 16];
  const [rows, queries] = [draw.bytes("U8", [S + T, bytes]), draw.bytes("U8", [T * h, bytes])];
  for (let s = 0; s < S + T; s++) bytesIn(rows)[(s + 1) * bytes - 1] = scales[Math.floor(s / 16) % scales.length]!;
  for (let q = 0; q < T * h; q++) bytesIn(queries)[(q + 1) * bytes - 1] = scales[Math.floor(q / h) % scales.length]!;
  const iw = Array.from({ length: T * h }, (_, q) => weights[Math.floor(q / h / scales.length)]! * [1, -0.7, 1.9][q % h]!);
  const [keys, iq] = [paged(draw, rows), { ...queries, shape: [T, h, bytes] }];
  return { label: "borders", T, K: 10, S: S + T, start: S, m: 1, dim, keys, iq, iw: from("F32", [T, h], Float32Array.from(iw)), scale: 1 };
}

/** Scales of two blocks 0 to 7 bits apart, every such query with every such sixteen keys. */
function spreadCall(draw: Draw) {
  const [T, h, dim, bytes, S] = [8, 4, 64, keyBytes("fp4", 64), 8 * 16];
  const rowsOf = (count: number, each: number) => {
    const rows = draw.bytes("U8", [count, bytes]);
    for (let row = 0; row < count; row++)
      bytesIn(rows).set(
        draw.pick([
          [124, 124 + (Math.floor(row / each) % 8)],
          [124 + (Math.floor(row / each) % 8), 124],
        ]),
        (row + 1) * bytes - 2,
      );
    return rows;
  };
  const [keys, iq] = [paged(draw, rowsOf(S + T, 16)), { ...rowsOf(T * h, h), shape: [T, h, bytes] }];
  const iw = from(
    "F32",
    [T, h],
    Float32Array.from({ length: T * h }, () => draw.float()),
  );
  return { label: "spreads", T, K: 10, S: S + T, start: S, m: 1, dim, keys, iq, iw, scale: 1 };
}

/** Rows too long for one exact sum: all values as large as they get and raised as far as they go, but for those of one block in each half. */
function longCall(draw: Draw) {
  const [T, h, dim, bytes, S] = [1, 32, 4096, keyBytes("fp4", 4096), 32];
  const rowsOf = (count: number) => {
    const rows = draw.bytes("U8", [count, bytes]);
    for (let row = 0; row < count; row++) {
      const lies = bytesIn(rows).subarray(row * bytes, (row + 1) * bytes);
      for (const half of [0, dim / 4]) {
        const scale = dim / 2 + half / 16;
        lies.fill(0x77, half + 16, half + dim / 4);
        lies.fill(127, scale, scale + 1).fill(130, scale + 1);
      }
    }
    return rows;
  };
  const [keys, iq] = [paged(draw, rowsOf(S)), { ...rowsOf(T * h), shape: [T, h, bytes] }];
  return { label: "long rows", T, K: 10, S, start: S - 1, m: 1, dim, keys, iq, iw: headWeights(draw, [T, h], 0), scale: 1 };
}

function scoresOn(path: string, call: ReturnType<typeof selectCall>) {
  const backend = openBackend({ path, threads: 2 });
  const stream = backend.createStream();
  const [sel, scores] = [zeros("I32", [call.T, call.K]), zeros("F32", [call.T, call.S])];
  const { iq, iw, start, m, dim, scale } = call;
  const { list: keys, ...where } = call.keys;
  stream.select({ iq, iw, keys, sel, scores, start, m, dim, keyLayout: "fp4", scale, ...where });
  stream.wait();
  stream.release();
  backend.close();
  return { sel: Array.from(ints(sel)), scores: Array.from(floats(scores), (score) => score + 0) }; // 0 and -0 are one score
}

function firstOther(actual: readonly number[], expected: readonly number[]) {
  const at = expected.findIndex((value, i) => !Object.is(value, actual[i]));
  return at < 0 ? null : `value ${at} is ${actual[at]}, expected ${expected[at]}`;
}

describe.each(listPaths().filter((path) => path.available && path.name !== "reference"))("path $name", ({ name }) => {
  const draw = new Draw(seed);
  afterAll(releaseAll);

  const expectReference = (call: ReturnType<typeof selectCall>, round: number) => {
    const [actual, expected] = [scoresOn(name, call), scoresOn("reference", call)];
    const where = `SEED=${seed}, round ${round}: ${call.label}`;
    expect(firstOther(actual.scores, expected.scores), `${where}: scores of ${call.S} a row`).toBeNull();
    expect(firstOther(actual.sel, expected.sel), `${where}: best ${call.K} a row`).toBeNull();
    releaseAll();
  };

  test("index scores of FP4 keys have the reference's bits, whatever the scales and weights", () => {
    for (let round = 0; round < 32; round++) expectReference(selectCall(draw), round);
  });

  test("and where scales and weights lie at the borders of what is computed otherwise", () => {
    for (let round = 0; round < 2; round++) expectReference(borderCall(draw), round);
  });

  test("and where the scales of a row are just near enough for one sum, or just not", () => {
    for (let round = 0; round < 4; round++) expectReference(spreadCall(draw), round);
  });

  test("and where rows are too long for their dot product to be one exact sum", () => {
    for (let round = 0; round < 2; round++) expectReference(longCall(draw), round);
  });
});
