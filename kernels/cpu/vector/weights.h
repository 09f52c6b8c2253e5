// Rows of weight matrices as they are on disk, sixteen values at a time:
// w[row, k .. k+15], dequantised exactly (spec 4.4).
#pragma once

#include "gemm.h"
#include "pairs.h"

namespace longshore::cpu::LONGSHORE_PATH {

static constexpr float kNan = __builtin_nanf("");

// E8M0 bytes as the bits of fp32.
struct ScaleTable {
  int32_t bits[256];
  constexpr ScaleTable() : bits{0x00400000} {
    for (int32_t s = 1; s < 255; s++) bits[s] = s << 23;
    bits[255] = 0x7FC00000;
  }
};
static constexpr ScaleTable kScales;

template <class E>
struct PlainRow {
  const E* w;

  static constexpr int64_t kPerLine = 64 / sizeof(E);  // values in a cache line
  PlainRow() = default;
  PlainRow(const Matrix& m, int64_t row) : w(at<E>(m.w.data, row * m.K)) {}
  LONGSHORE_MEMBER const void* addressOf(int64_t k) const { return addressAt(w, k * static_cast<int64_t>(sizeof(E))); }
  LONGSHORE_MEMBER V at16(int64_t k) const { return load(w + k); }
  LONGSHORE_MEMBER V part(int64_t k, int64_t n) const { return loadPart(w + k, n); }
  bool holdsNan(int64_t) const { return false; }  // a NaN needs no help to spread
};

struct E4m3Row {
  const uint8_t* w;
  const uint8_t* scale;

  static constexpr int64_t kPerLine = 64;
  E4m3Row() = default;
  E4m3Row(const Matrix& m, int64_t row) : w(at<uint8_t>(m.w.data, row * m.K)), scale(at<uint8_t>(m.scale.data, row / kWeightBlock * blocksOf(m.K, kWeightBlock))) {}
  LONGSHORE_MEMBER const void* addressOf(int64_t k) const { return addressAt(w, k); }
  LONGSHORE_MEMBER V scaleAt(int64_t k) const { return floats(setInt(kScales.bits[scale[k / kWeightBlock]])); }
  LONGSHORE_MEMBER V at16(int64_t k) const { return mul(decodeE4m3(w + k), scaleAt(k)); }
  LONGSHORE_MEMBER V part(int64_t k, int64_t n) const {
    uint8_t codes[kLanes] = {};
    std::memcpy(codes, w + k, static_cast<size_t>(n));
    return mul(decodeE4m3(codes), scaleAt(k));
  }
  // decodeE4m3 does not know NaN: a row that holds a NaN code gives NaN, whatever it is multiplied by.
  bool holdsNan(int64_t K) const {
    uint64_t found = 0;  // the top bit of a byte that is 0x7F without its sign
    for (int64_t k = 0; k < K / 8; k++) found |= (View<uint64_t>{w}[k] & 0x7F7F7F7F7F7F7F7Fu) + 0x0101010101010101u;
    for (int64_t k = K / 8 * 8; k < K; k++) found |= (w[k] & 0x7Fu) + 1u;
    return (found & 0x8080808080808080u) != 0;
  }
};

struct E2m1Row {
  const uint8_t* w;
  const uint8_t* scale;

  static constexpr int64_t kPerLine = 128;
  E2m1Row() = default;
  E2m1Row(const Matrix& m, int64_t row) : w(at<uint8_t>(m.w.data, row * m.K / 2)), scale(at<uint8_t>(m.scale.data, row * m.K / 32)) {}
  LONGSHORE_MEMBER const void* addressOf(int64_t k) const { return addressAt(w, k >> 1); }
  LONGSHORE_MEMBER const void* scaleAddress(int64_t k) const { return addressAt(scale, k >> 5); }
  LONGSHORE_MEMBER V at16(int64_t k) const { return mul(decodeE2m1(w + k / 2), floats(setInt(kScales.bits[scale[k / 32]]))); }
  LONGSHORE_MEMBER V part(int64_t k, int64_t) const { return at16(k); }  // K is a multiple of 32
  bool holdsNan(int64_t) const { return false; }
};

// Whether each row has scales of its own, not those of a block of rows.
template <class Row>
static constexpr bool kOwnScales = std::is_same_v<Row, E2m1Row>;

// Calls body with a value of the row type of a weight dtype.
template <class Body>
LONGSHORE_INLINE void withRows(ls_dtype dtype, Body&& body) {
  switch (dtype) {
    case LS_F32: return body(PlainRow<float>());
    case LS_BF16: return body(PlainRow<Bf16>());
    case LS_F8_E4M3: return body(E4m3Row());
    default: return body(E2m1Row());
  }
}

// The first n of sixteen values from k on.
template <class Row>
LONGSHORE_INLINE V lanesAt(const Row& row, int64_t k, int64_t n) {
  return n >= kLanes ? row.at16(k) : n > 0 ? row.part(k, n) : zero();
}

// One step's operand from k on, zeros past K.
template <class Row>
LONGSHORE_INLINE V vectorAt(const Row& row, int64_t k, int64_t K, const float*) {
  return lanesAt(row, k, K - k);
}
template <class Row>
LONGSHORE_INLINE P vectorAt(const Row& row, int64_t k, int64_t K, const Bf16*) {
  if constexpr (std::is_same_v<Row, E2m1Row>) return scaledE2m1(row.w + (k >> 1), row.scale[k >> 5]);  // K is a multiple of 32
  if constexpr (std::is_same_v<Row, PlainRow<Bf16>>) {
    if (k + kVector<Bf16> <= K) return loadVector(row.w + k);
  }
  return pairsOf(lanesAt(row, k, K - k), lanesAt(row, k + kLanes, K - k - kLanes));
}

LONGSHORE_INLINE void storeVector(float* p, V v) { store(p, v); }
LONGSHORE_INLINE void storeVector(Bf16* p, P v) { std::memcpy(p, &v, sizeof v); }
LONGSHORE_INLINE V loadVector(const float* p) { return load(p); }
LONGSHORE_INLINE V multiplyAdd(V x, V w, V c) { return fma(x, w, c); }
LONGSHORE_INLINE void setNan(float* p) { *p = kNan; }
LONGSHORE_INLINE void setNan(Bf16* p) { p->bits = 0x7FC0; }

// Steps whose operands are decoded at once: those in 64 bytes.
template <class Row, class E>
static constexpr int kTogether = std::is_same_v<E, float> ? 1 : std::is_same_v<Row, E4m3Row> ? 2 : std::is_same_v<Row, E2m1Row> ? 4 : 1;

// Their operands from k on, zeros past K; those that begin past K are left as they are. A NaN code becomes NaN if more
// than one operand is decoded at once; else see holdsNan. Shifts and unsigned division save what signed division does for
// values below zero.
template <class Row, class E, class Vector, int count>
LONGSHORE_INLINE void vectorsAt(const Row& row, int64_t k, int64_t K, const E* e, Vector (&vectors)[count]) {
  if constexpr (count == 1) {
    vectors[0] = vectorAt(row, k, K, e);
  } else if constexpr (count == 4) {
    if (k + 128 <= K) return scaledE2m1(row.w + (k >> 1), row.scale + (k >> 5), vectors);
    for (int i = 0; i < count && k + 32 * i < K; i++) vectors[i] = vectorAt(row, k + 32 * i, K, e);
  } else if (k + 64 <= K) {
    scaledE4m3(row.w + k, E4m3Scaled(row.scale[static_cast<uint64_t>(k) / kWeightBlock]), vectors);
  } else {
    uint8_t codes[64] = {};
    std::memcpy(codes, row.w + k, static_cast<size_t>(K - k));
    scaledE4m3(codes, E4m3Scaled(row.scale[static_cast<uint64_t>(k) / kWeightBlock]), vectors);
  }
}

template <class Row, class E>
LONGSHORE_INLINE bool needsNan(const Row& row, int64_t K, const E*) {
  return kTogether<Row, E> == 1 && row.holdsNan(K);
}

// Values [from, to) of one row of K values, zeros past K.
template <class Row, class E>
LONGSHORE_INLINE void decodeRow(const Row& row, int64_t from, int64_t to, int64_t K, E* out) {
  constexpr int count = kTogether<Row, E>;
  for (int64_t k = from; k < to; k += count * kVector<E>) {
    decltype(loadVector(out)) vectors[count];
    vectorsAt(row, k, K, out, vectors);
    LONGSHORE_UNROLL for (int i = 0; i < count; i++) {
      if (k + i * kVector<E> < to) storeVector(out + (k - from) + i * kVector<E>, vectors[i]);
    }
  }
  if (from == 0 && needsNan(row, K, out)) setNan(out);
}

}  // namespace longshore::cpu::LONGSHORE_PATH
