// Sixteen pairs of bf16 and their product: the second reduction order, for bf16 activations and weights that are exact
// in bf16.
//
//   lane l of pairs x, w and sum c:  fma(x[2l], w[2l], fma(x[2l+1], w[2l+1], c))
//   every step rounds to nearest even, takes denormal operands as zeros and flushes denormal results to 0, signs kept
//
// That is VDPBF16PS, here with K in steps of 32 (found by experiment: 19.2 million lanes over all exponents on a Zen 4
// agree with the twin below).
#pragma once

#include "vec.h"

#if defined(__AVX512BF16__)

#include "pair_tables.h"

namespace longshore::cpu::LONGSHORE_PATH {

using P = __m512i;

LONGSHORE_INLINE P loadVector(const Bf16* p) { return _mm512_loadu_si512(p); }
LONGSHORE_INLINE V multiplyAdd(P x, P w, V c) { return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w)); }

// Repeats one pair in all lanes.
LONGSHORE_INLINE P repeatPair(const Bf16* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return setInt(pair);
}

// Packs values that are exact in bf16; denormals become zeros already here.
LONGSHORE_INLINE P pairsOf(V low, V high) { return reinterpret_cast<P>(_mm512_cvtne2ps_pbh(high, low)); }

// The table of one scale, in registers if it is used more than once.
struct E4m3Scaled {
  P low[2], high[2];

  LONGSHORE_MEMBER explicit E4m3Scaled(uint8_t scale) {
    const E4m3Table& table = kE4m3Tables.of[scale];
    LONGSHORE_UNROLL for (int i = 0; i < 2; i++) low[i] = _mm512_load_si512(table.low + 64 * i), high[i] = _mm512_load_si512(table.high + 64 * i);
  }
};

// 64 E4M3 codes times a scale: two vectors. Code 2^7 + c differs from c by the sign.
LONGSHORE_INLINE void scaledE4m3(const uint8_t* p, const E4m3Scaled& table, P (&two)[2]) {
  const P codes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), _mm512_loadu_si512(p));  // what unpacking undoes
  const P low = _mm512_permutex2var_epi8(table.low[0], codes, table.low[1]), high = _mm512_permutex2var_epi8(table.high[0], codes, table.high[1]);
  const P signedHigh = _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8(-128), 0xF8);  // high | (codes & 0x80)
  two[0] = _mm512_unpacklo_epi8(low, signedHigh);
  two[1] = _mm512_unpackhi_epi8(low, signedHigh);
}

// 32 E2M1 codes from 16 bytes times a scale. Words are looked up by their low five bits; the fifth may be anything.
LONGSHORE_INLINE P scaledE2m1(const uint8_t* p, uint8_t scale) {
  const P bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_permutexvar_epi16(_mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12)), _mm512_load_si512(kE2m1Tables.of[scale]));
}

#if defined(LONGSHORE_TILES)

// For steps 2h and 2h + 1 of 64 bytes: where the byte of pair l lies, in both words of lane l.
struct alignas(64) StepBytes {
  uint8_t of[2][64];
  constexpr StepBytes() : of{} {
    for (int h = 0; h < 2; h++) {
      for (int i = 0; i < 64; i++) of[h][i] = static_cast<uint8_t>(32 * h + 16 * (i % 2) + i / 4);
    }
  }
};
static constexpr StepBytes kStepBytes;

// 128 codes from 64 bytes, each 32 of them times a scale of their own: four vectors. The bytes of two steps at a time
// are copied into both words of a lane, where each nibble is shifted to the low bits of its word. That makes six
// shuffles, which take turns at one port of an Intel core, and shifts, which use another.
LONGSHORE_INLINE void scaledE2m1(const uint8_t* p, const uint8_t* scales, P (&four)[4]) {
  const P bytes = _mm512_loadu_si512(p);
  LONGSHORE_UNROLL for (int h = 0; h < 2; h++) {
    const P both = _mm512_permutexvar_epi8(_mm512_load_si512(kStepBytes.of[h]), bytes);
    LONGSHORE_UNROLL for (int i = 0; i < 2; i++) {
      const P nibbles = _mm512_srlv_epi16(both, setInt(0x0004'0000 + 0x0008'0008 * i));
      four[2 * h + i] = _mm512_permutexvar_epi16(nibbles, _mm512_load_si512(kE2m1Tables.of[scales[2 * h + i]]));
    }
  }
}

#else

// From 64 bytes, which are four steps of sixteen pairs: the bytes of pairs 2q and 2q + 1 of every step, in quadword q.
struct alignas(64) QuadBytes {
  uint8_t of[64];
  constexpr QuadBytes() : of{} {
    for (int i = 0; i < 64; i++) of[i] = static_cast<uint8_t>(16 * (i % 8 / 2) + i / 8 * 2 + i % 2);
  }
};
static constexpr QuadBytes kQuadBytes;

// 128 codes from 64 bytes, each 32 of them times a scale of their own: four vectors. All steps of two pairs share a
// quadword, from which each nibble of one step is shifted to the low bits of a word. That makes nine operations of one
// kind, for which an AMD core has several units.
LONGSHORE_INLINE void scaledE2m1(const uint8_t* p, const uint8_t* scales, P (&four)[4]) {
  const P quads = _mm512_permutexvar_epi8(_mm512_load_si512(kQuadBytes.of), _mm512_loadu_si512(p));
  LONGSHORE_UNROLL for (int i = 0; i < 4; i++) {
    const P nibbles = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x0C'0008'0004'0000 + 0x10'0010'0010'0010 * i), quads);
    four[i] = _mm512_permutexvar_epi16(nibbles, _mm512_load_si512(kE2m1Tables.of[scales[i]]));
  }
}

#endif

}  // namespace longshore::cpu::LONGSHORE_PATH

#else

#include <cmath>

namespace longshore::cpu::LONGSHORE_PATH {

struct P {
  uint16_t half[32];
};

LONGSHORE_INLINE P loadVector(const Bf16* p) {
  P r;
  std::memcpy(r.half, p, sizeof r.half);
  return r;
}

LONGSHORE_INLINE P repeatPair(const Bf16* p) {
  P r;
  for (int l = 0; l < kLanes; l++) std::memcpy(r.half + 2 * l, p, 2 * sizeof(Bf16));
  return r;
}

LONGSHORE_INLINE float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
LONGSHORE_INLINE float flushedFma(uint16_t x, uint16_t w, float c) { return flushed(std::fma(flushed(bf16Decode(x)), flushed(bf16Decode(w)), flushed(c))); }

LONGSHORE_INLINE V multiplyAdd(P x, P w, V c) {
  float lanes[kLanes];
  store(lanes, c);
  for (int l = 0; l < kLanes; l++) lanes[l] = flushedFma(x.half[2 * l], w.half[2 * l], flushedFma(x.half[2 * l + 1], w.half[2 * l + 1], lanes[l]));
  return load(lanes);
}

struct E4m3Scaled {
  float scale;

  LONGSHORE_MEMBER explicit E4m3Scaled(uint8_t code) : scale(e8m0Decode(code)) {}
};

LONGSHORE_INLINE void scaledE4m3(const uint8_t* p, const E4m3Scaled& table, P (&two)[2]) {
  for (int i = 0; i < 64; i++) two[i / 32].half[i % 32] = bf16Encode(e4m3Decode(p[i]) * table.scale);
}

LONGSHORE_INLINE P scaledE2m1(const uint8_t* p, uint8_t scale) {
  P r;
  for (int i = 0; i < 32; i++) r.half[i] = bf16Encode(e2m1Decode(nibbleAt(p, i)) * e8m0Decode(scale));
  return r;
}

LONGSHORE_INLINE void scaledE2m1(const uint8_t* p, const uint8_t* scales, P (&four)[4]) {
  for (int i = 0; i < 4; i++) four[i] = scaledE2m1(p + 16 * i, scales[i]);
}

LONGSHORE_INLINE P pairsOf(V low, V high) {
  Bf16 halves[2 * kLanes];
  store(halves, low);
  store(halves + kLanes, high);
  return loadVector(halves);
}

}  // namespace longshore::cpu::LONGSHORE_PATH

#endif
