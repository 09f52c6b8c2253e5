import { zeros } from "../owned.ts";
import type { Draw } from "../random.ts";
import type { Cases } from "./cases.ts";
import { activations, copy, cut, plain, wide, width } from "./parts.ts";

/** Rows and channels: as in a step, where the mixes are shared out among threads, or as in a chunk, where rows are. */
const extents = (draw: Draw): [number, number] => (draw.chance() ? [draw.whole(1, 9), width(draw)] : [draw.whole(40, 160), wide(draw, 90)]);

/** Hyper-connections. */
export const hyperCases = {
  hcPre(draw) {
    const [[T, d], n, dtype] = [extents(draw), draw.whole(1, 5), draw.pick(activations)];
    const mixes = (2 + n) * n;
    const [streams, fn, base] = [draw.floats(dtype, [T, n, d]), draw.floats("F32", [mixes, n * d], 0.1), draw.floats("F32", [mixes])];
    const scale = draw.floats("F32", [3]);
    return plain("hcPre", `${dtype} [${T}, ${n}, ${d}]`, T, (stream, a, b) => {
      const [x, post, comb] = [zeros(dtype, [b - a, d]), zeros("F32", [b - a, n]), zeros("F32", [b - a, n, n])];
      stream.hcPre({ streams: cut(streams, a, b), fn, base, scale, x, post, comb, rmsEps: 1e-6, hcEps: 1e-6, sinkhornIters: 20 });
      return [x, post, comb];
    });
  },

  hcPost(draw) {
    const [[T, d], n, dtype, inPlace] = [extents(draw), draw.whole(1, 5), draw.pick(activations), draw.chance()];
    const [y, post, comb] = [draw.floats(dtype, [T, d]), draw.floats("F32", [T, n]), draw.floats("F32", [T, n, n])];
    const streams = draw.floats(dtype, [T, n, d]);
    return plain("hcPost", `${dtype} [${T}, ${n}, ${d}]${inPlace ? " in place" : ""}`, T, (stream, a, b) => {
      const before = inPlace ? copy(cut(streams, a, b)) : cut(streams, a, b);
      const out = inPlace ? before : zeros(dtype, [b - a, n, d]);
      stream.hcPost({ y: cut(y, a, b), streams: before, post: cut(post, a, b), comb: cut(comb, a, b), out });
      return [out];
    });
  },

  hcHead(draw) {
    const [[T, d], n, dtype] = [extents(draw), draw.whole(1, 5), draw.pick(activations)];
    const [streams, fn] = [draw.floats(dtype, [T, n, d]), draw.floats("F32", [n, n * d], 0.1)];
    const [base, scale] = [draw.floats("F32", [n]), draw.floats("F32", [1])];
    return plain("hcHead", `${dtype} [${T}, ${n}, ${d}]`, T, (stream, a, b) => {
      const h = zeros(dtype, [b - a, d]);
      stream.hcHead({ streams: cut(streams, a, b), fn, base, scale, h, rmsEps: 1e-6, hcEps: 1e-6 });
      return [h];
    });
  },
} satisfies Cases;
