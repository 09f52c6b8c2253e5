import type { Activation, KeyLayout, KvLayout, Operation, Stream, Tensor, TensorList } from "../../../services/shared/engine/kernels.ts";
import {
  bytesIn,
  keyBytes,
  keyLayouts,
  kvEntryBytes,
  kvLayouts,
  openBackend,
  reshape,
  rows,
  tensor,
} from "../../../services/shared/engine/kernels.ts";
import { type Case, near, type Output } from "./case.ts";
import { createList, from, zeros } from "./owned.ts";
import type { Draw } from "./random.ts";

/** Random cases by operation: small and odd shapes as well as some that fill several vector blocks; every layout and weight format. */
export const cases: Readonly<Record<Operation, (draw: Draw) => Case>> = {
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

  linear(draw) {
    const [T, groups, dtype, format] = [
      draw.pick([draw.whole(1, 9), draw.whole(10, 70)]),
      draw.whole(1, 3),
      draw.pick(activations),
      draw.pick(weightFormats),
    ];
    const [K, N, out] = [format === "F4_E2M1" ? 32 * draw.whole(1, 9) : width(draw), draw.whole(1, 150), draw.chance() ? dtype : "F32"];
    const [x, { w, scale }] = [draw.floats(dtype, [T, groups * K]), weight(draw, format, groups * N, K)];
    return plain("linear", `${dtype} [${T}, ${groups} x ${K}] . ${format} [${groups} x ${N}] -> ${out}`, T, (stream, a, b) => {
      const y = zeros(out, [b - a, groups * N]);
      stream.linear({ x: cut(x, a, b), w, scale, y, groups });
      return [y];
    });
  },

  hcPre(draw) {
    const [T, n, d, dtype] = [draw.whole(1, 9), draw.whole(1, 5), width(draw), draw.pick(activations)];
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
    const [T, n, d, dtype, inPlace] = [draw.whole(1, 9), draw.whole(1, 5), width(draw), draw.pick(activations), draw.chance()];
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
    const [T, n, d, dtype] = [draw.whole(1, 9), draw.whole(1, 5), width(draw), draw.pick(activations)];
    const [streams, fn] = [draw.floats(dtype, [T, n, d]), draw.floats("F32", [n, n * d], 0.1)];
    const [base, scale] = [draw.floats("F32", [n]), draw.floats("F32", [1])];
    return plain("hcHead", `${dtype} [${T}, ${n}, ${d}]`, T, (stream, a, b) => {
      const h = zeros(dtype, [b - a, d]);
      stream.hcHead({ streams: cut(streams, a, b), fn, base, scale, h, rmsEps: 1e-6, hcEps: 1e-6 });
      return [h];
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
      draw.whole(1, 40),
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

  select(draw) {
    const [T, h, K, keyLayout] = [draw.whole(1, 9), draw.whole(1, 9), draw.whole(1, 40), draw.pick(keyLayouts)];
    const [start, m, dim] = [
      draw.whole(0, 7) === 0 ? draw.whole(2000, 6000) : draw.whole(0, 600),
      draw.pick([1, 2, 4]),
      keyDim(draw, keyLayout),
    ];
    const [S, iq] = [
      Math.max(1, Math.floor((start + T) / m)),
      reshape(keyRows(draw, keyLayout, T * h, dim), [T, h, keyBytes(keyLayout, dim)]),
    ];
    const [iw, keyBlock] = [draw.floats("F32", [T, h]), keyRows(draw, keyLayout, S, dim)];
    const { list: keys, ...pages } = paged(draw, keyBlock);
    return {
      ...plain("select", `[${T}, ${h}, ${dim}] ${keyLayout} at ${start}, m ${m}, best ${K} of ${S}`, T, (stream, a, b) => {
        const [sel, scores] = [zeros("I32", [b - a, K]), zeros("F32", [b - a, S])];
        const args = { start: start + a, m, keyLayout, dim, ...pages, scale: 0.25 };
        stream.select({ iq: cut(iq, a, b), iw: cut(iw, a, b), keys, sel, scores, ...args });
        return [sel, scores];
      }),
      ...(keyLayout === "fp4" ? {} : { compare: { 0: equallyGood } }),
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

  route(draw) {
    const [T, E, V] = [draw.whole(1, 9), draw.whole(1, 70), draw.whole(1, 20)];
    const k = draw.whole(1, Math.min(E, 8));
    // Levels 0.05 apart, bias a multiple of 2: no near-tie that rounding could turn over.
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
    const [T, E, dtype, format] = [draw.whole(1, 17), draw.whole(1, 6), draw.pick(activations), draw.pick(weightFormats)];
    const unit = format === "F4_E2M1" ? 32 : draw.pick([1, 8, 33]);
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
    const idx = routed
      ? from(
          "I32",
          [T, k],
          Int32Array.from(
            flat(T, () =>
              draw
                .order(E)
                .slice(0, k)
                .sort((p, q) => p - q),
            ),
          ),
        )
      : null;
    const weights = routed ? draw.floats("F32", [T, k]) : null;
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
};

const activations: readonly Activation[] = ["F32", "BF16"];
const weightFormats = ["F32", "BF16", "F8_E4M3", "F4_E2M1"] as const;

function plain(
  operation: Operation,
  label: string,
  count: number,
  run: (stream: Stream, from: number, to: number) => readonly Tensor[],
): Case {
  return { operation, label, rows: count, state: () => [], run: (stream, _, a, b) => run(stream, a, b) };
}

const cut = (t: Tensor, begin: number, end: number): Tensor => rows(t, begin, end - begin);
const copy = (t: Tensor): Tensor => {
  const made = zeros(t.dtype, t.shape);
  bytesIn(made).set(bytesIn(t));
  return made;
};
const flat = (times: number, make: () => readonly number[]): Float32Array => Float32Array.from(Array.from({ length: times }, make).flat());

/** Below, around and far above the blocks that kernels work in. */
const width = (draw: Draw): number => {
  const [min, max] = draw.pick([
    [1, 40],
    [41, 300],
    [41, 300],
    [301, 1400],
  ] as const);
  return draw.whole(min, max);
};
const keyDim = (draw: Draw, layout: KeyLayout): number => (layout === "fp4" ? draw.pick([32, 64, 128]) : draw.whole(1, 140));
const kvWidths = (draw: Draw) => ({ nope: draw.whole(1, 200), rope: 2 * draw.whole(0, 20) });

/** A weight with values around one over the root of K, in any format of a checkpoint. */
function weight(draw: Draw, format: (typeof weightFormats)[number], N: number, K: number): { w: Tensor; scale: Tensor | null } {
  if (format === "F8_E4M3") return { w: draw.bytes(format, [N, K]), scale: draw.scales([Math.ceil(N / 128), Math.ceil(K / 128)], -7) };
  if (format === "F4_E2M1") return { w: draw.bytes(format, [N, K]), scale: draw.scales([N, K / 32], -3) };
  return { w: draw.floats(format, [N, K], 0.3), scale: null };
}

const packer = openBackend({ path: "reference", threads: 1 });
const packing = packer.createStream();

function kvRows(draw: Draw, kvLayout: KvLayout, T: number, nope: number, rope: number): Tensor {
  const entries = zeros("U8", [T, kvEntryBytes(kvLayout, nope, rope)]);
  packing.kvPack({ rows: draw.floats("F32", [T, nope + rope]), entries, kvLayout, rope });
  packing.wait();
  return entries;
}

/** Few distinct rows, so that equal scores are common. */
function keyRows(draw: Draw, keyLayout: KeyLayout, R: number, dim: number): Tensor {
  const [distinct, all] = [Math.max(1, Math.ceil(R / 2)), zeros("U8", [R, keyBytes(keyLayout, dim)])];
  const keys = zeros("U8", [distinct, keyBytes(keyLayout, dim)]);
  packing.keyPack({ rows: draw.floats("F32", [distinct, dim]), keys, keyLayout });
  packing.gather({ x: keys, rows: draw.ints([R], 0, distinct - 1), y: all });
  packing.wait();
  return all;
}

/** The rows spread over pages with something in front of them, the last page just long enough. */
function paged(draw: Draw, block: Tensor): { list: TensorList; pageOffset: number; rowsPerPage: number } {
  const [total = 0, bytes = 0] = block.shape;
  const [rowsPerPage, pageOffset, list] = [draw.whole(1, 50), draw.whole(0, 40), createList()];
  for (let begin = 0; begin < total; begin += rowsPerPage) {
    const part = cut(block, begin, Math.min(total, begin + rowsPerPage));
    const page = draw.bytes("U8", [pageOffset + part.shape[0]! * bytes]);
    bytesIn(page).set(bytesIn(part), pageOffset);
    list.append(tensor(page.buffer, "U8", page.shape));
  }
  return { list, pageOffset, rowsPerPage };
}

/** As SELECT writes it: ascending, then -1. */
function selection(draw: Draw, T: number, K: number, start: number, m: number): Tensor {
  const line = (i: number) => {
    const visible = Math.floor((start + i + 1) / m);
    const chosen = draw
      .order(visible)
      .slice(0, draw.whole(0, K))
      .sort((p, q) => p - q);
    return Array.from({ length: K }, (_, j) => chosen[j] ?? -1);
  };
  return from("I32", [T, K], Int32Array.from(Array.from({ length: T }, (_, i) => line(i)).flat()));
}

/** Where scores are only near the reference's, the choice may differ between entries that are as good. */
function equallyGood(actual: Output, expected: Output, all: readonly Output[]): string | null {
  const [K, S, scores] = [expected.width, all[1]!.width, all[1]!.values];
  for (let row = 0; row * K < expected.values.length; row++) {
    const line = scores.subarray(row * S, (row + 1) * S);
    const scale = line.reduce((most, v) => Math.max(most, Number.isFinite(v) ? Math.abs(v) : 0), 0);
    const sorted = (sel: Output) =>
      Array.from(sel.values.subarray(row * K, (row + 1) * K), (s) => (s < 0 ? -Infinity : line[s]!)).sort((p, q) => q - p);
    const [got, wanted] = [sorted(actual), sorted(expected)];
    if (got.some((score, i) => !(score === wanted[i] || Math.abs(score - wanted[i]!) <= 2e-5 * scale)))
      return `row ${row} chose ${got}, expected ${wanted}`;
  }
  return null;
}
