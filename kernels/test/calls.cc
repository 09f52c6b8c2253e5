// A valid call of every operation, on random shapes.
#include "fuzz.h"

#include <algorithm>

#include "../cpu/formats.h"

namespace longshore::test {

using namespace longshore::cpu;

namespace {

double number(int64_t x) { return static_cast<double>(x); }

}  // namespace

Call Fuzz::rowsCall(ls_op op) {
  const int64_t T = any(7), C = wide(90), h = any(4), V = any(9), repeat = any(3);
  const ls_dtype a = activation();
  switch (op) {
    case LS_EMBED: return {op, {ints({T}, 0, V - 1), floats(activation(), {V, C}), make(a, {T, h, C})}, {}};
    case LS_RMS_NORM: return {op, {floats(a, {T, C}), floats(activation(), {C}), make(a, {T, C})}, {1e-6}};
    case LS_ROPE_TABLE: return {op, {ints({T}, 0, 1 << 20), floats(LS_F32, {C}), make(LS_F32, {T, C, 2})}, {}};
    case LS_ROPE: return {op, {floats(a, {T, h, 2 * C + V}, kAligned), floats(LS_F32, {T, C, 2})}, {-1}};
    case LS_ADD: return {op, {floats(activation(), {T * repeat, C}), floats(activation(), {T, C}), make(a, {T * repeat, C})}, {number(repeat)}};
    case LS_GATHER: return {op, {floats(LS_U8, {V, C}), ints({T}, 0, V - 1), make(LS_U8, {T, C})}, {}};
    default: return {op, {values_ == Values::any ? corners(activation(), {T, C}) : floats(activation(), {T, C}), make(a, {T, C})}, {}};
  }
}

Call Fuzz::hyperCall(ls_op op) {
  const bool chunk = random_.whole(0, 3) == 0;  // else a step
  const int64_t T = chunk ? random_.whole(40, 110) : any(7), n = any(5), d = wide(chunk ? 40 : 90), mixes = (2 + n) * n;
  const ls_dtype a = activation();
  const ls_tensor streams = floats(a, {T, n, d}, op == LS_HC_POST ? kAligned : anyByte());
  if (op == LS_HC_PRE)
    return {op,
            {streams, floats(LS_F32, {mixes, n * d}), floats(LS_F32, {mixes}), floats(LS_F32, {3}), make(a, {T, d}), make(LS_F32, {T, n}),
             make(LS_F32, {T, n, n})},
            {1e-6, 1e-6, 20}};
  if (op == LS_HC_POST) return {op, {floats(a, {T, d}), streams, floats(LS_F32, {T, n}), floats(LS_F32, {T, n, n}), streams}, {}};
  return {op, {streams, floats(LS_F32, {n, n * d}), floats(LS_F32, {n}), floats(LS_F32, {1}), make(a, {T, d})}, {1e-6, 1e-6}};
}

Call Fuzz::storedCall(ls_op op) {
  const int64_t T = any(20), nope = wide(200), rope = 2 * random_.whole(0, 20), D = nope + rope, start = random_.whole(0, 40);
  const int64_t layout = random_.whole(0, 3), key = random_.whole(0, 2), bytes = kvEntryBytes(static_cast<int>(layout), nope, rope);
  const int64_t dim = int64_t{32} << random_.whole(0, 2), m = any(8), overlap = random_.whole(0, 1);
  const int64_t row = keyBytes(static_cast<int>(key), dim), w = (1 + overlap) * nope;
  switch (op) {
    case LS_KV_PACK: return {op, {floats(activation(), {T, D}), make(LS_U8, {T, bytes})}, {number(layout), number(rope)}};
    case LS_KV_UNPACK: return {op, {rowsOf({T, bytes}, kvRow(layout, nope, rope)), make(LS_F32, {T, D})}, {number(layout), number(rope)}};
    case LS_KEY_PACK: return {op, {floats(activation(), {T, dim}), make(LS_U8, {T, row})}, {number(key)}};
    case LS_KEY_UNPACK: return {op, {rowsOf({T, row}, keyRow(key, dim)), make(LS_F32, {T, dim})}, {number(key)}};
    case LS_WINDOW_PUT: return {op, {floats(LS_U8, {T, bytes}), make(LS_U8, {m, bytes})}, {number(start)}};
    default:
      return {op,
              {floats(LS_F32, {T, w}), floats(LS_F32, {T, w}), floats(LS_F32, {m, w}), make(LS_F32, {(1 + overlap) * m, 2, w}),
               make(activation(), {(start + T) / m - start / m, nope})},
              {number(start), number(m), number(overlap)}};
  }
}

Call Fuzz::pagedCall(ls_op op) {
  const bool far = op == LS_SELECT && random_.whole(0, 5) == 0;  // so many keys that threads share those of one row
  const bool heads = op == LS_SELECT && random_.whole(0, 1) == 0;  // so many that making keys level pays
  const int64_t T = any(far ? 2 : 7), h = any(heads ? 40 : 5), K = any(random_.whole(0, 1) == 0 ? 40 : 300), m = far ? 1 : any(4);
  const int64_t start = far ? random_.whole(4000, 9000) : random_.whole(0, 900), visible = (start + T) / m;
  const int64_t offset = random_.whole(0, 9), perPage = any(40);
  if (op == LS_SELECT) {
    const int64_t layout = random_.whole(0, 2), dim = int64_t{32} << random_.whole(0, 2), bytes = keyBytes(static_cast<int>(layout), dim);
    return {op,
            {rowsOf({T, h, bytes}, keyRow(layout, dim)), floats(LS_F32, {T, h}), paged(visible, bytes, offset, perPage, keyRow(layout, dim)),
             make(LS_I32, {T, K}), make(LS_F32, {T, visible + 1})},
            {number(start), number(m), number(layout), number(dim), number(offset), number(perPage), 0.5}};
  }
  const bool whole = random_.whole(0, 1) == 1;  // whole blocks and vectors are read otherwise than parts of them
  const int64_t layout = random_.whole(0, 3), nope = whole ? 64 * any(3) : wide(150), rope = whole ? 32 * any(2) : 2 * random_.whole(0, 20), W = any(20);
  const int64_t bytes = kvEntryBytes(static_cast<int>(layout), nope, rope);
  const ls_dtype a = activation();
  ls_tensor sel = absent();
  if (random_.whole(0, 1) == 1) {
    sel = ints({T, K}, -1, -1);
    for (int64_t i = 0; i < T; i++)
      for (int64_t j = 0; j < std::min(K, (start + i + 1) / m); j++) reinterpret_cast<int32_t*>(host(sel))[i * K + j] = static_cast<int32_t>(j);
  }
  return {op,
          {floats(a, {T, h, nope + rope}), rowsOf({T, bytes}, kvRow(layout, nope, rope)), rowsOf({W, bytes}, kvRow(layout, nope, rope)),
           floats(LS_F32, {h}), sel, paged(visible, bytes, offset, perPage, kvRow(layout, nope, rope)), make(a, {T, h, nope + rope})},
          {number(start), 0, number(m), number(layout), number(rope), number(offset), number(perPage), 0.1}};
}

Call Fuzz::linear(ls_dtype activation, ls_dtype format, int64_t T, int64_t K, int64_t N, int64_t g) {
  std::vector<ls_tensor> tensors = {floats(activation, {T, g * K})};
  weight(g * N, K, format, tensors);
  tensors.push_back(make(LS_F32, {T, g * N}));
  return {LS_LINEAR, tensors, {number(g)}};
}

Call Fuzz::weightCall(ls_op op) {
  static constexpr ls_dtype formats[] = {LS_F32, LS_BF16, LS_F8_E4M3, LS_F4_E2M1};
  const ls_dtype format = formats[random_.whole(0, 3)], a = activation();
  const bool fp4 = format == LS_F4_E2M1, large = random_.whole(0, 5) == 0;  // rows enough for each way of decoding, and K in more than one piece
  const int64_t T = any(large ? 80 : 9), g = any(large ? 1 : 3), more = large && random_.whole(0, 1) == 0 ? 1024 : 0;
  const int64_t K = more + (fp4 ? 32 * any(6) : wide(150)), N = fp4 ? 32 * any(4) : wide(90), V = any(9);
  const int64_t E = any(op == LS_ROUTE ? 300 : 6), k = random_.whole(1, std::min(E, int64_t{8}));
  if (op == LS_LINEAR) return linear(a, format, T, K, N, g);
  if (op == LS_ROUTE) {
    const bool hashed = random_.whole(0, 1) == 1;
    const ls_tensor table = hashed ? tableOf(V, k, E) : absent(), ids = hashed ? ints({T}, 0, V - 1) : absent();
    return {op, {onGrid({T, E}, 60, 0.05f), onGrid({E}, 1, 8), table, ids, make(LS_I32, {T, k}), make(LS_F32, {T, k})}, {1.5}};
  }
  std::vector<ls_tensor> experts;
  for (int64_t e = 0; e < E; e++) {
    weight(N, K, format, experts);
    weight(N, K, format, experts);
    weight(K, N, format, experts);
  }
  const int64_t first = random_.whole(0, E - 1);
  const ls_tensor idx = ints({T, k}, first, random_.whole(first, E - 1));  // a row may name one twice, and all rows the same
  auto* slots = reinterpret_cast<int32_t*>(host(idx));
  for (int64_t t = 0; t < T; t++) std::sort(slots + t * k, slots + (t + 1) * k);
  return {op, {floats(a, {T, K}), idx, floats(LS_F32, {T, k}), list(experts), make(LS_F32, {T, K})}, {10}};
}

Call Fuzz::call(ls_op op) {
  switch (op) {
    case LS_HC_PRE:
    case LS_HC_POST:
    case LS_HC_HEAD: return hyperCall(op);
    case LS_KV_PACK:
    case LS_KV_UNPACK:
    case LS_KEY_PACK:
    case LS_KEY_UNPACK:
    case LS_WINDOW_PUT:
    case LS_COMPRESS: return storedCall(op);
    case LS_SELECT:
    case LS_ATTENTION: return pagedCall(op);
    case LS_LINEAR:
    case LS_ROUTE:
    case LS_EXPERTS: return weightCall(op);
    default: return rowsCall(op);
  }
}

}  // namespace longshore::test
