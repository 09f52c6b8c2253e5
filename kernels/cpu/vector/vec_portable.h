// Sixteen lanes in an array: the twin that needs no vector unit.
// Slow, independent, and the ground truth for the bits of the others.
#pragma once

#include <cmath>

namespace longshore::cpu::LONGSHORE_PATH {

struct V {
  float lane[16];
};
struct I {
  int32_t lane[16];
};

template <class R, class Body>
LONGSHORE_INLINE R each(Body&& body) {
  R r;
  for (int l = 0; l < 16; l++) r.lane[l] = body(l);
  return r;
}

LONGSHORE_INLINE V set(float x) { return each<V>([&](int) { return x; }); }
LONGSHORE_INLINE V zero() { return set(0.0f); }
LONGSHORE_INLINE I setInt(int32_t x) { return each<I>([&](int) { return x; }); }

template <class R>
LONGSHORE_INLINE R copyFrom(const void* p) {
  R r;
  std::memcpy(r.lane, p, sizeof r.lane);
  return r;
}
LONGSHORE_INLINE V load(const float* p) { return copyFrom<V>(p); }
LONGSHORE_INLINE I load(const int32_t* p) { return copyFrom<I>(p); }
LONGSHORE_INLINE void store(float* p, V v) { std::memcpy(p, v.lane, sizeof v.lane); }
LONGSHORE_INLINE void store(int32_t* p, I v) { std::memcpy(p, v.lane, sizeof v.lane); }

LONGSHORE_INLINE V add(V a, V b) { return each<V>([&](int l) { return a.lane[l] + b.lane[l]; }); }
LONGSHORE_INLINE V sub(V a, V b) { return each<V>([&](int l) { return a.lane[l] - b.lane[l]; }); }
LONGSHORE_INLINE V mul(V a, V b) { return each<V>([&](int l) { return a.lane[l] * b.lane[l]; }); }
LONGSHORE_INLINE V div(V a, V b) { return each<V>([&](int l) { return a.lane[l] / b.lane[l]; }); }
LONGSHORE_INLINE V min(V a, V b) { return each<V>([&](int l) { return a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]; }); }
LONGSHORE_INLINE V max(V a, V b) { return each<V>([&](int l) { return a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]; }); }
LONGSHORE_INLINE V sqrt(V a) { return each<V>([&](int l) { return std::sqrt(a.lane[l]); }); }
LONGSHORE_INLINE V fma(V a, V b, V c) { return each<V>([&](int l) { return std::fma(a.lane[l], b.lane[l], c.lane[l]); }); }

LONGSHORE_INLINE I bits(V v) { return copyFrom<I>(v.lane); }
LONGSHORE_INLINE V floats(I v) { return copyFrom<V>(v.lane); }
LONGSHORE_INLINE I toInt(V v) {
  return each<I>([&](int l) { return std::fabs(v.lane[l]) < 0x1p31f ? static_cast<int32_t>(std::nearbyint(v.lane[l])) : INT32_MIN; });
}
LONGSHORE_INLINE V toFloat(I v) { return each<V>([&](int l) { return static_cast<float>(v.lane[l]); }); }
LONGSHORE_INLINE int32_t wrapped(uint32_t x) { return static_cast<int32_t>(x); }
LONGSHORE_INLINE uint32_t laneBits(int32_t x) { return static_cast<uint32_t>(x); }
LONGSHORE_INLINE I addInt(I a, I b) { return each<I>([&](int l) { return wrapped(laneBits(a.lane[l]) + laneBits(b.lane[l])); }); }
LONGSHORE_INLINE I andInt(I a, I b) { return each<I>([&](int l) { return a.lane[l] & b.lane[l]; }); }
LONGSHORE_INLINE I xorInt(I a, I b) { return each<I>([&](int l) { return a.lane[l] ^ b.lane[l]; }); }
template <int n>
LONGSHORE_INLINE I shiftLeft(I v) { return each<I>([&](int l) { return wrapped(laneBits(v.lane[l]) << n); }); }
LONGSHORE_INLINE I shiftLeft(I v, I n) { return each<I>([&](int l) { return wrapped(laneBits(v.lane[l]) << n.lane[l]); }); }
template <int n>
LONGSHORE_INLINE I shiftRight(I v) { return each<I>([&](int l) { return v.lane[l] >> n; }); }
LONGSHORE_INLINE uint32_t moreThan(I a, I b) {
  uint32_t mask = 0;
  for (int l = 0; l < 16; l++) mask |= static_cast<uint32_t>(a.lane[l] > b.lane[l]) << l;
  return mask;
}

LONGSHORE_INLINE V evens(V v) { return each<V>([&](int l) { return v.lane[l & ~1]; }); }
LONGSHORE_INLINE V odds(V v) { return each<V>([&](int l) { return v.lane[l | 1]; }); }
template <int n>
LONGSHORE_INLINE V swap(V v) { return each<V>([&](int l) { return v.lane[l ^ n]; }); }
LONGSHORE_INLINE float first(V v) { return v.lane[0]; }

LONGSHORE_INLINE V load(const Bf16* p) {
  return each<V>([&](int l) {
    uint16_t half;
    std::memcpy(&half, p + l, sizeof half);
    return bf16Decode(half);
  });
}
LONGSHORE_INLINE void store(Bf16* p, V v) {
  for (int l = 0; l < 16; l++) {
    const uint16_t half = bf16Encode(v.lane[l]);
    std::memcpy(p + l, &half, sizeof half);
  }
}

// NaN codes come out as 480 (see holdsNan in weights.h).
LONGSHORE_INLINE V decodeE4m3(const uint8_t* p) {
  return each<V>([&](int l) { return p[l] == 0x7F ? 480.0f : p[l] == 0xFF ? -480.0f : e4m3Decode(p[l]); });
}
LONGSHORE_INLINE V decodeE2m1(const uint8_t* p) { return each<V>([&](int l) { return e2m1Decode(nibbleAt(p, l)); }); }

LONGSHORE_INLINE float sum(V v) {
  v = add(v, swap<8>(v));
  v = add(v, swap<4>(v));
  v = add(v, swap<2>(v));
  return first(add(v, swap<1>(v)));
}

static constexpr int kTileM = 2, kTileN = 2;

// out[m * stride + n] = the sum of the lanes of acc[m][n].
LONGSHORE_INLINE void sumTile(const V (&acc)[2][2], float* out, int64_t stride) {
  for (int m = 0; m < 2; m++) {
    for (int n = 0; n < 2; n++) out[m * stride + n] = sum(acc[m][n]);
  }
}

// table[nibble] for the 32 nibbles of 16 bytes:
// the even ones, then the odd ones (for sums, whose order does not matter).
LONGSHORE_INLINE void lookUp(const int8_t (&table)[16], const uint8_t* p, int8_t* to) {
  for (int i = 0; i < 16; i++) {
    to[i] = table[p[i] & 15];
    to[16 + i] = table[p[i] >> 4];
  }
}

static constexpr bool kAnyBytes = true;  // whether byteDots can multiply any bytes

// For H rows x of 32 signed bytes: lane l of dots[h] += sum over the bytes of column l.
// `columns`: 8 groups of 16 columns of 4 unsigned bytes.
template <int H>
LONGSHORE_INLINE void byteDots(const uint8_t* columns, const int8_t* x, int64_t stride, I (&dots)[H]) {
  for (int h = 0; h < H; h++) {
    for (int k = 0; k < 32; k++) {
      dots[h] = addInt(dots[h], each<I>([&](int l) { return columns[k / 4 * 64 + l * 4 + k % 4] * x[h * stride + k]; }));
    }
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
