// Sixteen pairs of bf16 and their product: the second reduction order, for bf16 activations and weights that are exact in bf16.
//
//   lane l of pairs x, w and sum c:  fma(x[2l], w[2l], fma(x[2l+1], w[2l+1], c))
//   every step rounds to nearest even, takes denormal operands as zeros and gives zeros for denormal results, signs kept
//
// That is VDPBF16PS (found by trying: 19.2 million lanes over all exponents on a Zen 4 agree with the twin below), here K in steps of 32.
#pragma once

#include "vec.h"

#if defined(__AVX512BF16__)

namespace longshore::cpu::LONGSHORE_PATH {

using P = __m512i;

LONGSHORE_INLINE P loadVector(const Bf16* p) { return _mm512_loadu_si512(p); }
LONGSHORE_INLINE V multiplyAdd(P x, P w, V c) { return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w)); }

// Values that are exact in bf16; denormals become zeros here already.
LONGSHORE_INLINE P pairsOf(V low, V high) { return reinterpret_cast<P>(_mm512_cvtne2ps_pbh(high, low)); }

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

LONGSHORE_INLINE float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
LONGSHORE_INLINE float flushedFma(uint16_t x, uint16_t w, float c) { return flushed(std::fma(flushed(bf16Decode(x)), flushed(bf16Decode(w)), flushed(c))); }

LONGSHORE_INLINE V multiplyAdd(P x, P w, V c) {
  float lanes[kLanes];
  store(lanes, c);
  for (int l = 0; l < kLanes; l++) lanes[l] = flushedFma(x.half[2 * l], w.half[2 * l], flushedFma(x.half[2 * l + 1], w.half[2 * l + 1], lanes[l]));
  return load(lanes);
}

LONGSHORE_INLINE P pairsOf(V low, V high) {
  Bf16 halves[2 * kLanes];
  store(halves, low);
  store(halves + kLanes, high);
  return loadVector(halves);
}

}  // namespace longshore::cpu::LONGSHORE_PATH

#endif
