import { afterAll, afterEach, describe, expect, test } from "vitest";
import { bytesIn, floats, ints, keyBytes, listPaths, openBackend, type Tensor } from "../../services/shared/engine/kernels.ts";
import { paged } from "../support/kernels/cases/parts.ts";
import { from, releaseAll, zeros } from "../support/kernels/owned.ts";
import { Draw } from "../support/kernels/random.ts";

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
afterEach(releaseAll);

/** FP4 rows of random values whose scales lie near each other or not, and anywhere that E8M0 goes. */
function fp4Rows(draw: Draw, rows: number, dim: number): Tensor {
  const bytes = keyBytes("fp4", dim);
  const all = draw.bytes("U8", [rows, bytes]);
  for (let row = 0; row < rows; row++) {
    const spread = draw.whole(0, 9) === 0 ? draw.whole(0, 6) : 3;
    const lowest = draw.whole(0, 19) === 0 ? draw.pick([0, 1, 94, 95, 96, 97, 156, 157, 158, 160, 161, 254, 255]) : draw.whole(120, 130);
    for (let i = dim / 2; i < bytes; i++) bytesIn(all)[row * bytes + i] = Math.min(255, lowest + draw.whole(0, spread));
  }
  return all;
}

/** Mostly of one size, a call's; some are what no checkpoint should hold. */
function headWeights(draw: Draw, shape: readonly number[]): Tensor {
  const size = draw.pick([1, 1, 1, 2 ** 38, 2 ** -38, 2 ** 120, 2 ** -140]);
  const odd = draw.chance() ? [0, -0, 2 ** 100, -(2 ** -100)] : [Infinity, -Infinity, Number.NaN, 2 ** -149];
  const weights = Array.from({ length: shape.reduce((a, b) => a * b) }, () =>
    draw.whole(0, 49) === 0 ? draw.pick(odd) : draw.float() * size,
  );
  return from("F32", shape, Float32Array.from(weights));
}

function selectCall(draw: Draw) {
  const [T, h, dim] = [draw.whole(1, 20), draw.pick([1, 2, 3, 4, 5, 16, 17, 64, 80]), draw.pick([32, 64, 96, 128, 128, 160, 1056])];
  const [m, K, start] = [draw.pick([1, 4]), draw.whole(1, 20), draw.whole(0, 180)];
  const visible = Math.floor((start + T) / m);
  const keys = paged(draw, fp4Rows(draw, Math.max(1, visible), dim));
  const iq = { ...fp4Rows(draw, T * h, dim), shape: [T, h, keyBytes("fp4", dim)] };
  return {
    label: `[${T}, ${h}, ${dim}] at ${start}, m ${m}`,
    T,
    K,
    S: visible + 1,
    start,
    m,
    dim,
    keys,
    iq,
    iw: headWeights(draw, [T, h]),
  };
}

function scoresOn(path: string, call: ReturnType<typeof selectCall>) {
  const backend = openBackend({ path, threads: 2 });
  const stream = backend.createStream();
  const [sel, scores] = [zeros("I32", [call.T, call.K]), zeros("F32", [call.T, call.S])];
  const { iq, iw, start, m, dim } = call;
  const { list: keys, ...where } = call.keys;
  stream.select({ iq, iw, keys, sel, scores, start, m, dim, keyLayout: "fp4", scale: 0.5, ...where });
  stream.wait();
  stream.release();
  backend.close();
  return { sel: Array.from(ints(sel)), scores: Array.from(floats(scores), (score) => score + 0) }; // 0 and -0 are one score
}

describe.each(listPaths().filter((path) => path.available && path.name !== "reference"))("path $name", ({ name }) => {
  const draw = new Draw(seed);
  afterAll(releaseAll);

  test("index scores of FP4 keys have the reference's bits, whatever the scales and weights", () => {
    for (let round = 0; round < 24; round++) {
      const call = selectCall(draw);
      expect(scoresOn(name, call), `SEED=${seed}, round ${round}: ${call.label}`).toEqual(scoresOn("reference", call));
      releaseAll();
    }
  });
});
