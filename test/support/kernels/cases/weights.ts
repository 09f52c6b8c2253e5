import { near } from "../case.ts";
import { createList, from, zeros } from "../owned.ts";
import type { Cases } from "./cases.ts";
import { activations, cut, flat, plain, weight, weightFormats, wide, width } from "./parts.ts";

/** Operations with weights in every format of a checkpoint. */
export const weightsCases = {
  linear(draw) {
    const [T, groups, dtype, format] = [
      draw.pick([draw.whole(1, 9), draw.whole(10, 70)]),
      draw.whole(1, 3),
      draw.pick(activations),
      draw.pick(weightFormats),
    ];
    const [K, N, out] = [format === "F4_E2M1" ? 32 * draw.whole(1, 9) : width(draw), wide(draw, 150), draw.chance() ? dtype : "F32"];
    const [x, { w, scale }] = [draw.floats(dtype, [T, groups * K]), weight(draw, format, groups * N, K)];
    return plain("linear", `${dtype} [${T}, ${groups} x ${K}] . ${format} [${groups} x ${N}] -> ${out}`, T, (stream, a, b) => {
      const y = zeros(out, [b - a, groups * N]);
      stream.linear({ x: cut(x, a, b), w, scale, y, groups });
      return [y];
    });
  },

  route(draw) {
    const [T, E, V] = [draw.whole(1, 9), draw.whole(1, 70), draw.whole(1, 20)];
    const k = draw.whole(1, Math.min(E, 8));
    // Levels 0.05 apart, bias a multiple of 8: no near-tie that rounding could turn over.
    const logits = from(
      "F32",
      [T, E],
      flat(T, () => draw.order(E).map((level) => level * 0.05 - 1.5)),
    );
    const hashed = draw.chance();
    const bias =
      !hashed && draw.chance()
        ? from(
            "F32",
            [E],
            Float32Array.from({ length: E }, () => 8 * draw.whole(0, 2)),
          )
        : null;
    const table = hashed
      ? from(
          "I64",
          [V, k],
          BigInt64Array.from(
            flat(V, () => draw.order(E).slice(0, k)),
            (e) => BigInt(e),
          ),
        )
      : null;
    const ids = hashed ? draw.ints([T], 0, V - 1) : null;
    return plain("route", `[${T}, ${E}] best ${k}${hashed ? ", by table" : ""}${bias ? ", biased" : ""}`, T, (stream, a, b) => {
      const [idx, weights] = [zeros("I32", [b - a, k]), zeros("F32", [b - a, k])];
      stream.route({ logits: cut(logits, a, b), bias, table, ids: ids && cut(ids, a, b), idx, weights, routedScaling: 1.5 });
      return [idx, weights];
    });
  },

  experts(draw) {
    const most = draw.whole(1, 8) === 1 ? 70 : 17; // rows enough for each way of decoding
    const [T, E, dtype, format] = [draw.whole(1, most), draw.whole(1, 6), draw.pick(activations), draw.pick(weightFormats)];
    const unit = format === "F4_E2M1" ? 32 : draw.pick([7, 8, 33]); // never so few channels that all of a row cancel
    const [d, I, k, routed] = [unit * draw.whole(1, 6), unit * draw.whole(1, 5), draw.whole(1, E), draw.chance()];
    const x = draw.floats(dtype, [T, d]);
    const experts = createList();
    for (let e = 0; e < E; e++)
      for (const [r, c] of [
        [I, d],
        [I, d],
        [d, I],
      ] as const) {
        const { w, scale } = weight(draw, format, r, c);
        experts.append(w);
        experts.append(scale);
      }
    const first = draw.whole(0, E - 1);
    const last = draw.whole(first, E - 1); // a row may name one twice, and all rows the same
    const slots = () => Array.from({ length: k }, () => draw.whole(first, last)).sort((p, q) => p - q);
    const idx = routed ? from("I32", [T, k], Int32Array.from(flat(T, slots))) : null;
    const share = () => Math.abs(draw.float()); // as a router gives: shares of both signs would leave nothing but rounding
    const shares = () => flat(T, () => Array.from({ length: k }, share));
    const weights = routed ? from("F32", [T, k], shares()) : null;
    const c = plain("experts", `${dtype} [${T}, ${d}] ${format} I ${I}, ${routed ? `${k} of ${E}` : "shared"}`, T, (stream, a, b) => {
      const y = zeros("F32", [b - a, d]);
      stream.experts({
        x: cut(x, a, b),
        idx: idx && cut(idx, a, b),
        weights: weights && cut(weights, a, b),
        experts,
        y,
        limit: draw.seed % 2 ? 1.5 : 10,
      });
      return [y];
    });
    return dtype === "F32" ? c : { ...c, compare: { 0: (actual, expected) => near(2 ** -8, actual, expected) } };
  },
} satisfies Cases;
