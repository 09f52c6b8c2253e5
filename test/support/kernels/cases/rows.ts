import { from, zeros } from "../owned.ts";
import type { Cases } from "./cases.ts";
import { activations, copy, cut, plain, width } from "./parts.ts";

/** Operations on one row or one value at a time. */
export const rowsCases = {
  embed(draw) {
    const [T, n, d, V] = [draw.whole(1, 9), draw.whole(1, 5), width(draw), draw.whole(1, 50)];
    const [ids, table, dtype] = [draw.ints([T], 0, V - 1), draw.floats(draw.pick(activations), [V, d]), draw.pick(activations)];
    return plain("embed", `${table.dtype} [${V}, ${d}] -> ${dtype} [${T}, ${n}, ${d}]`, T, (stream, a, b) => {
      const streams = zeros(dtype, [b - a, n, d]);
      stream.embed({ ids: cut(ids, a, b), table, streams });
      return [streams];
    });
  },

  rmsNorm(draw) {
    const [R, C, dtype] = [draw.whole(1, 9), width(draw), draw.pick(activations)];
    const [x, w] = [draw.floats(dtype, [R, C], 10 ** draw.whole(-2, 2)), draw.chance() ? draw.floats(draw.pick(activations), [C]) : null];
    return plain("rmsNorm", `${dtype} [${R}, ${C}], w ${w?.dtype ?? "absent"}`, R, (stream, a, b) => {
      const y = zeros(dtype, [b - a, C]);
      stream.rmsNorm({ x: cut(x, a, b), w, y, eps: 1e-6 });
      return [y];
    });
  },

  ropeTable(draw) {
    const [T, pairs] = [draw.whole(1, 9), draw.whole(1, 40)];
    const positions = draw.ints([T], 0, draw.pick([10, 100_000, 1_048_575]));
    const freqs = from(
      "F32",
      [pairs],
      Float32Array.from({ length: pairs }, (_, i) => 10_000 ** (-i / pairs)),
    );
    return plain("ropeTable", `[${T}, ${pairs}]`, T, (stream, a, b) => {
      const table = zeros("F32", [b - a, pairs, 2]);
      stream.ropeTable({ positions: cut(positions, a, b), freqs, table });
      return [table];
    });
  },

  rope(draw) {
    const [T, h, pairs, dtype, sign] = [draw.whole(1, 9), draw.whole(1, 5), draw.whole(1, 33), draw.pick(activations), draw.pick([1, -1])];
    const D = 2 * pairs + draw.whole(0, 70);
    const [x, table] = [draw.floats(dtype, [T, h, D]), draw.floats("F32", [T, pairs, 2])];
    return plain("rope", `${dtype} [${T}, ${h}, ${D}], ${pairs} pairs, sign ${sign}`, T, (stream, a, b) => {
      const turned = copy(cut(x, a, b));
      stream.rope({ x: turned, table: cut(table, a, b), sign });
      return [turned];
    });
  },

  add(draw) {
    const [R, C, repeat, dtype] = [draw.whole(1, 9), width(draw), draw.pick([1, 1, 2, 4]), draw.pick(activations)];
    const [a, b] = [draw.floats(draw.pick(activations), [R * repeat, C]), draw.floats(draw.pick(activations), [R, C])];
    return plain("add", `${a.dtype} [${R} x ${repeat}, ${C}] + ${b.dtype} -> ${dtype}`, R, (stream, begin, end) => {
      const y = zeros(dtype, [(end - begin) * repeat, C]);
      stream.add({ a: cut(a, begin * repeat, end * repeat), b: cut(b, begin, end), y, repeat });
      return [y];
    });
  },

  gather(draw) {
    const [R, C, N] = [draw.whole(1, 20), 32 * draw.whole(1, 4), draw.whole(1, 9)];
    const [x, picked] = [draw.bytes(draw.pick(["U8", "BF16", "F32", "I64", "F4_E2M1"] as const), [R, C]), draw.ints([N], 0, R - 1)];
    return plain("gather", `${x.dtype} [${R}, ${C}], ${N} rows`, N, (stream, a, b) => {
      const y = zeros(x.dtype, [b - a, C]);
      stream.gather({ x, rows: cut(picked, a, b), y });
      return [y];
    });
  },

  cast(draw) {
    const [R, C, to] = [draw.whole(1, 9), width(draw), draw.pick(activations)];
    const x = draw.floats(draw.pick(activations), [R, C, 1], 10 ** draw.whole(-40, 38));
    return plain("cast", `${x.dtype} [${R}, ${C}] -> ${to}`, R, (stream, a, b) => {
      const y = zeros(to, [b - a, C, 1]);
      stream.cast({ x: cut(x, a, b), y });
      return [y];
    });
  },
} satisfies Cases;
