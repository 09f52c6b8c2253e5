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
  forLanes(width, [&](int64_t k, auto read, auto write) { write(row + k, read(elements + k)); });
}

// Writes the width() values alone. NaN codes do not occur: KV_PACK takes finite values.
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

// The same with zeros up to a whole vector.
static inline void unpackKvPadded(const KvShape& s, const uint8_t* entry, float* row) {
  for (int64_t k = s.width(); k < padded(s.width()); k++) row[k] = 0.0f;
  unpackKv(s, entry, row);
}

// Writes the dim values alone.
static inline void unpackKey(ls_key_layout layout, int64_t dim, const uint8_t* key, float* row) {
  if (layout == LS_KEY_F32) return widenTo<float>(key, dim, row);
  if (layout == LS_KEY_BF16) return widenTo<Bf16>(key, dim, row);
  for (int64_t k = 0; k < dim; k += kLanes) {
    store(row + k, mul(decodeE2m1(key + k / 2), floats(setInt(kScales.bits[key[dim / 2 + k / kKeyBlock]]))));
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
