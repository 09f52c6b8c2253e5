import { keyBytes, keyLayouts, kvEntryBytes, kvLayouts } from "../../../../services/shared/engine/kernels.ts";
import { zeros } from "../owned.ts";
import type { Cases } from "./cases.ts";
import { activations, copy, cut, keyDim, keyRows, kvRows, kvWidths, plain, wide } from "./parts.ts";

/** Operations that make stored rows and read them. */
export const storedCases = {
  kvPack(draw) {
    const [T, kvLayout, { nope, rope }, dtype] = [draw.whole(1, 9), draw.pick(kvLayouts), kvWidths(draw), draw.pick(activations)];
    const input = draw.floats(dtype, [T, nope + rope], 10 ** draw.whole(-6, 6));
    return plain("kvPack", `${dtype} [${T}, ${nope} + ${rope}] ${kvLayout}`, T, (stream, a, b) => {
      const entries = zeros("U8", [b - a, kvEntryBytes(kvLayout, nope, rope)]);
      stream.kvPack({ rows: cut(input, a, b), entries, kvLayout, rope });
      return [entries];
    });
  },

  kvUnpack(draw) {
    const [T, kvLayout, { nope, rope }] = [draw.whole(1, 9), draw.pick(kvLayouts), kvWidths(draw)];
    const entries = kvRows(draw, kvLayout, T, nope, rope);
    return plain("kvUnpack", `[${T}, ${nope} + ${rope}] ${kvLayout}`, T, (stream, a, b) => {
      const output = zeros("F32", [b - a, nope + rope]);
      stream.kvUnpack({ entries: cut(entries, a, b), rows: output, kvLayout, rope });
      return [output];
    });
  },

  keyPack(draw) {
    const [R, keyLayout, dtype] = [draw.whole(1, 9), draw.pick(keyLayouts), draw.pick(activations)];
    const dim = keyDim(draw, keyLayout);
    const input = draw.floats(dtype, [R, dim], 10 ** draw.whole(-6, 6));
    return plain("keyPack", `${dtype} [${R}, ${dim}] ${keyLayout}`, R, (stream, a, b) => {
      const keys = zeros("U8", [b - a, keyBytes(keyLayout, dim)]);
      stream.keyPack({ rows: cut(input, a, b), keys, keyLayout });
      return [keys];
    });
  },

  keyUnpack(draw) {
    const [R, keyLayout] = [draw.whole(1, 9), draw.pick(keyLayouts)];
    const dim = keyDim(draw, keyLayout);
    const keys = keyRows(draw, keyLayout, R, dim);
    return plain("keyUnpack", `[${R}, ${dim}] ${keyLayout}`, R, (stream, a, b) => {
      const output = zeros("F32", [b - a, dim]);
      stream.keyUnpack({ keys: cut(keys, a, b), rows: output, keyLayout });
      return [output];
    });
  },

  windowPut(draw) {
    const [T, W, bytes, start] = [draw.whole(1, 12), draw.whole(1, 8), draw.whole(1, 70), draw.whole(0, 30)];
    const [entries, ring] = [draw.bytes("U8", [T, bytes]), draw.bytes("U8", [W, bytes])];
    return {
      operation: "windowPut",
      label: `[${T}, ${bytes}] at ${start} into ${W}`,
      rows: T,
      state: () => [copy(ring)],
      run(stream, state, a, b) {
        stream.windowPut({ entries: cut(entries, a, b), ring: state[0]!, start: start + a });
        return [];
      },
    };
  },

  compress(draw) {
    const [T, Dc, m, overlap, dtype] = [
      draw.whole(1, 40),
      wide(draw, 40),
      draw.pick([1, 2, 4, 8, 16]),
      draw.chance(),
      draw.pick(activations),
    ];
    const [start, w] = [draw.whole(0, 50), overlap ? 2 * Dc : Dc];
    const [k, z, ape] = [draw.floats("F32", [T, w]), draw.floats("F32", [T, w], 3), draw.floats("F32", [m, w])];
    const ring = draw.floats("F32", [overlap ? 2 * m : m, 2, w]);
    return {
      operation: "compress",
      label: `[${T}, ${w}] at ${start}, m ${m}, overlap ${overlap} -> ${dtype}`,
      rows: T,
      state: () => [copy(ring)],
      run(stream, state, a, b) {
        const windows = Math.floor((start + b) / m) - Math.floor((start + a) / m);
        const pooled = zeros(dtype, [windows, Dc]);
        stream.compress({ k: cut(k, a, b), z: cut(z, a, b), ape, ring: state[0]!, pooled, start: start + a, m, overlap });
        return [pooled];
      },
    };
  },
} satisfies Cases;
