import { afterAll, afterEach, describe, expect, test } from "vitest";
import { bytesIn, floats, ints, kvEntryBytes, listPaths, openBackend, type Tensor } from "../../services/shared/engine/kernels.ts";
import { createList, from, releaseAll, zeros } from "../support/kernels/owned.ts";
import { Draw } from "../support/kernels/random.ts";

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
afterEach(releaseAll);

/** Rules with an answer known beforehand: these hold on every path, the reference included. */
describe.each(listPaths().filter((path) => path.available))("path $name", ({ name }) => {
  const backend = openBackend({ path: name, threads: 2 });
  const stream = backend.createStream();
  afterAll(() => {
    stream.release();
    backend.close();
  });

  test("select takes the lower index where scores are equal, and lists entries ascending", () => {
    const draw = new Draw(seed);
    const [T, S, K, dim] = [7, 300, 20, 64];
    const [few, picked] = [draw.floats("F32", [3, dim]), draw.ints([S], 0, 2)];
    const [keys, rows, iq] = [zeros("U8", [3, 34]), zeros("U8", [S, 34]), zeros("U8", [T, 1, 34])];
    stream.keyPack({ rows: few, keys, keyLayout: "fp4" });
    stream.gather({ x: keys, rows: picked, y: rows });
    stream.keyPack({ rows: draw.floats("F32", [T, dim]), keys: { ...iq, shape: [T, 34] }, keyLayout: "fp4" });
    const list = createList();
    list.append({ ...rows, shape: [S * 34] });
    const [sel, scores] = [zeros("I32", [T, K]), zeros("F32", [T, S])];
    const where = { keyLayout: "fp4", dim, pageOffset: 0, rowsPerPage: S } as const;
    stream.select({ iq, iw: draw.floats("F32", [T, 1]), keys: list, sel, scores, start: S - T, m: 1, scale: 1, ...where });
    stream.wait();
    const [lines, chosen] = [floats(scores), ints(sel)];
    for (let row = 0; row < T; row++) {
      const line = Array.from(lines.subarray(row * S, (row + 1) * S));
      const order = line.map((_, s) => s).filter((s) => s < S - T + row + 1);
      const best = order.sort((p, q) => line[q]! - line[p]! || p - q).slice(0, K);
      expect(Array.from(chosen.subarray(row * K, (row + 1) * K)), `SEED=${seed} row ${row}`).toEqual(best.sort((p, q) => p - q));
    }
  });

  test("select pads with -1 where fewer entries are visible than wanted", () => {
    const [iq, list, sel] = [zeros("U8", [3, 1, 16]), createList(), zeros("I32", [3, 4])];
    list.append(zeros("U8", [16]));
    const where = { keyLayout: "f32", dim: 4, pageOffset: 0, rowsPerPage: 1 } as const;
    stream.select({ iq, iw: zeros("F32", [3, 1]), keys: list, sel, scores: null, start: 1, m: 4, scale: 1, ...where });
    stream.wait();
    expect(Array.from(ints(sel))).toEqual([-1, -1, -1, -1, -1, -1, -1, -1, 0, -1, -1, -1]);
  });

  test("route takes the lower expert where scores are equal, and a bias chooses without weighing", () => {
    const logits = from("F32", [2, 6], Float32Array.of(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
    const [idx, weights] = [zeros("I32", [2, 2]), zeros("F32", [2, 2])];
    const bias = from("F32", [6], Float32Array.of(0, 0, 0, 5, 0, 0));
    stream.route({ logits, bias, table: null, ids: null, idx, weights, routedScaling: 3 });
    stream.wait();
    expect(Array.from(ints(idx))).toEqual([0, 3, 0, 3]);
    expect(Array.from(floats(weights))).toEqual([1.5, 1.5, 1.5, 1.5]);
  });

  test("quantised rows hold the bytes of the worked example (spec 6.2)", () => {
    const rows = from("F32", [1, 4], Float32Array.of(0.1, -3.3, 7.77, 0.0015));
    const entries = zeros("U8", [1, kvEntryBytes("e4m3_bf16", 4, 0)]);
    const unpacked = zeros("F32", [1, 4]);
    stream.kvPack({ rows, entries, kvLayout: "e4m3_bf16", rope: 0 });
    stream.kvUnpack({ entries, rows: unpacked, kvLayout: "e4m3_bf16", rope: 0 });
    stream.wait();
    expect(Array.from(floats(unpacked))).toEqual([0.1015625, -3.25, 8, 0.00146484375]);
    expect(bytesIn(entries)[4]).toBe(127 - 5);
    expect(bytesIn(entries)[1]).toBe(128 + 109); // -104 = -3.25 / 2^-5
  });

  test("attention without a sink to speak of and one visible row returns that row", () => {
    const [nope, rope] = [5, 2];
    const value = from("F32", [1, 7], Float32Array.of(1, 2, 3, 4, 5, 6, 7));
    const fresh = zeros("U8", [1, 28]);
    stream.kvPack({ rows: value, entries: fresh, kvLayout: "f32", rope });
    const o = zeros("F32", [1, 2, nope + rope]);
    const call = {
      q: zeros("F32", [1, 2, 7]),
      fresh,
      ring: zeros("U8", [4, 28]),
      sink: from("F32", [2], Float32Array.of(-1e4, -1e4)),
      sel: null,
    };
    stream.attention({ ...call, pages: null, o, start: 9, first: 9, m: 0, kvLayout: "f32", rope, pageOffset: 0, rowsPerPage: 1, scale: 1 });
    stream.wait();
    expect(Array.from(floats(o))).toEqual([1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("an infinite limit clamps nothing", () => {
    const list = createList();
    for (let i = 0; i < 3; i++) {
      list.append(from("F32", [1, 1], Float32Array.of(i < 2 ? 100 : 1)));
      list.append(null);
    }
    const y: Tensor = zeros("F32", [1, 1]);
    stream.experts({ x: from("F32", [1, 1], Float32Array.of(1)), idx: null, weights: null, experts: list, y, limit: Infinity });
    stream.wait();
    expect(floats(y)[0]).toBeCloseTo(10_000, 1);
  });
});
