import { keyBytes, keyLayouts, kvEntryBytes, kvLayouts, reshape } from "../../../../services/shared/engine/kernels.ts";
import { near } from "../case.ts";
import { zeros } from "../owned.ts";
import type { Cases } from "./cases.ts";
import { activations, copy, cut, keyDim, keyRows, kvRows, kvWidths, nearScores, paged, plain, selection } from "./parts.ts";

/** Operations that read rows through a list of pages. */
export const attentionCases = {
  select(draw) {
    const [T, h, K, keyLayout] = [draw.whole(1, 9), draw.whole(1, 9), draw.whole(1, 40), draw.pick(keyLayouts)];
    const [m, dim, scale] = [draw.pick([1, 2, 4]), keyDim(draw, keyLayout), 0.25];
    const start = draw.whole(0, 7) === 0 ? draw.whole(2000, 6000) : draw.whole(0, 600);
    const [S, iq] = [
      Math.max(1, Math.floor((start + T) / m)),
      reshape(keyRows(draw, keyLayout, T * h, dim), [T, h, keyBytes(keyLayout, dim)]),
    ];
    const [iw, keyBlock] = [draw.floats("F32", [T, h]), keyRows(draw, keyLayout, S, dim)];
    const { list: keys, ...pages } = paged(draw, keyBlock);
    return {
      ...plain("select", `[${T}, ${h}, ${dim}] ${keyLayout} at ${start}, m ${m}, best ${K} of ${S}`, T, (stream, a, b) => {
        const [sel, scores] = [zeros("I32", [b - a, K]), zeros("F32", [b - a, S])];
        const args = { start: start + a, m, keyLayout, dim, ...pages, scale };
        stream.select({ iq: cut(iq, a, b), iw: cut(iw, a, b), keys, sel, scores, ...args });
        return [sel, scores];
      }),
      ...(keyLayout === "fp4" ? {} : { compare: nearScores({ iq, iw, keyBlock, keyLayout, dim, scale }) }),
    };
  },

  attention(draw) {
    const [T, h, kvLayout, { nope, rope }] = [draw.whole(1, 9), draw.whole(1, 5), draw.pick(kvLayouts), kvWidths(draw)];
    const [W, m, dtype, bytes] = [draw.whole(1, 20), draw.pick([0, 1, 2, 4]), draw.pick(activations), kvEntryBytes(kvLayout, nope, rope)];
    const start = draw.whole(0, m === 0 ? 30 : 60 * m);
    const first = draw.whole(0, Math.min(start, draw.pick([0, start])));
    const [q, fresh, ring] = [
      draw.floats(dtype, [T, h, nope + rope], 2),
      kvRows(draw, kvLayout, T, nope, rope),
      kvRows(draw, kvLayout, W, nope, rope),
    ];
    const [sink, S] = [draw.floats("F32", [h]), m === 0 ? 0 : Math.floor((start + T) / m)];
    const paging = S > 0 ? paged(draw, kvRows(draw, kvLayout, S, nope, rope)) : { list: null, pageOffset: 0, rowsPerPage: 1 };
    const { list: pages, ...where } = paging;
    const sel = m > 0 && draw.chance() ? selection(draw, T, draw.whole(1, 30), start, m) : null;
    return {
      operation: "attention",
      label: `${dtype} [${T}, ${h}, ${nope} + ${rope}] ${kvLayout} at ${start}, first ${first}, W ${W}, m ${m}, ${sel === null ? "dense" : "selected"}`,
      rows: T,
      state: () => [copy(ring)],
      run(stream, state, a, b) {
        const o = zeros(dtype, [b - a, h, nope + rope]);
        const args = { start: start + a, first, m, kvLayout, rope, ...where, scale: (nope + rope) ** -0.5 };
        stream.attention({
          q: cut(q, a, b),
          fresh: cut(fresh, a, b),
          ring: state[0]!,
          sink,
          sel: sel && cut(sel, a, b),
          pages,
          o,
          ...args,
        });
        stream.windowPut({ entries: reshape(cut(fresh, a, b), [b - a, bytes]), ring: state[0]!, start: start + a });
        return [o];
      },
      ...(dtype === "F32" ? {} : { compare: { 0: (actual, expected) => near(2 ** -8, actual, expected) } }),
    };
  },
} satisfies Cases;
