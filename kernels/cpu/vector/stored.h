// Stored rows as floats. Layouts: kernels.h.
#pragma once

#include "weights.h"

namespace longshore::cpu::LONGSHORE_PATH {

struct KvShape {
  ls_kv_layout layout;
  int64_t nope, rope;

  int64_t width() const { return nope + rope; }
  bool quantised() const { return layout == LS_KV_E4M3_BF16 || layout == LS_KV_E4M3_F32; }
  bool ropeIsF32() const { return layout == LS_KV_E4M3_F32; }
};

template <class E>
LONGSHORE_INLINE void widenTo(const uint8_t* x, int64_t width, float* row) {
  const E* elements = reinterpret_cast<const E*>(x);
  forLanes(width, [&](int64_t k, auto read, auto write) LONGSHORE_INLINED { write(row + k, read(elements + k)); });
}

// Writes only the width() values. NaN codes do not occur: KV_PACK takes finite values.
static inline void unpackKv(const KvShape& s, const uint8_t* entry, float* row) {
  if (s.layout == LS_KV_F32) return widenTo<float>(entry, s.width(), row);
  if (s.layout == LS_KV_BF16) return widenTo<Bf16>(entry, s.width(), row);
  const uint8_t* scales = entry + s.nope + s.rope * (s.ropeIsF32() ? 4 : 2);
  for (int64_t start = 0; start < s.nope; start += kKvBlock) {
    const V scale = floats(setInt(kScales.bits[scales[start / kKvBlock]]));
    const int64_t end = minOf(s.nope, start + kKvBlock);
    int64_t k = start;
    for (; k + kLanes <= end; k += kLanes) store(row + k, mul(decodeE4m3(entry + k), scale));
    if (k == end) continue;
    uint8_t codes[kLanes] = {};
    std::memcpy(codes, entry + k, static_cast<size_t>(end - k));
    storePart(row + k, mul(decodeE4m3(codes), scale), end - k);
  }
  if (s.ropeIsF32()) return widenTo<float>(entry + s.nope, s.rope, row + s.nope);
  widenTo<Bf16>(entry + s.nope, s.rope, row + s.nope);
}

// The same, with zeros up to a whole vector.
static inline void unpackKvPadded(const KvShape& s, const uint8_t* entry, float* row) {
  for (int64_t k = s.width(); k < padded(s.width()); k++) row[k] = 0.0f;
  unpackKv(s, entry, row);
}

// Calls body(pair, step, P, P) with 32 values of each of the two rows of a pair as bf16, zeros after the last; for
// layouts whose values bf16 holds. Where rows are whole vectors, steps come in order, one or two at a time for all
// pairs. `floats` is space for two rows of whole steps.
template <int64_t count, class Body>
LONGSHORE_INLINE void forKvSteps(const KvShape& s, const uint8_t* const (&rows)[count], float* floats, Body&& body) {
  constexpr int64_t width = kVector<Bf16>;
  const int64_t steps = blocksOf(s.width(), width);
  const bool plain = s.layout == LS_KV_BF16;
  if (s.width() % width != 0 || (!plain && s.nope % kKvBlock != 0)) {
    std::memset(floats, 0, static_cast<size_t>(2 * steps * width) * sizeof(float));
    const auto halves = [&](int64_t k) { return pairsOf(load(floats + k), load(floats + k + kLanes)); };
    for (int64_t pair = 0; pair < count / 2; pair++) {
      unpackKv(s, rows[2 * pair], floats);
      unpackKv(s, rows[2 * pair + 1], floats + steps * width);
      for (int64_t step = 0; step < steps; step++) body(pair, step, halves(step * width), halves((steps + step) * width));
    }
    return;
  }
  const int64_t nope = plain ? 0 : s.nope;
  for (int64_t k = 0; k < nope; k += kKvBlock) {
    const int64_t scale = nope + 2 * s.rope + k / kKvBlock;
    for (int64_t pair = 0; pair < count / 2; pair++) {
      const uint8_t* a = rows[2 * pair];
      const uint8_t* b = rows[2 * pair + 1];
      P x[2], y[2];
      scaledE4m3(a + k, E4m3Scaled(a[scale]), x);
      scaledE4m3(b + k, E4m3Scaled(b[scale]), y);
      body(pair, k / width, x[0], y[0]);
      body(pair, k / width + 1, x[1], y[1]);
    }
  }
  const auto halves = [&](int64_t row, int64_t step) { return loadVector(reinterpret_cast<const Bf16*>(rows[row] + nope) + step * width - nope); };
  for (int64_t step = nope / width; step < steps; step++) {
    for (int64_t pair = 0; pair < count / 2; pair++) body(pair, step, halves(2 * pair, step), halves(2 * pair + 1, step));
  }
}

// Writes only the dim values.
static inline void unpackKey(ls_key_layout layout, int64_t dim, const uint8_t* key, float* row) {
  if (layout == LS_KEY_F32) return widenTo<float>(key, dim, row);
  if (layout == LS_KEY_BF16) return widenTo<Bf16>(key, dim, row);
  for (int64_t k = 0; k < dim; k += kLanes) {
    store(row + k, mul(decodeE2m1(key + k / 2), floats(setInt(kScales.bits[key[dim / 2 + k / kKeyBlock]]))));
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
