// Sixteen lanes in two registers: AVX2 and FMA.
#pragma once

#include <immintrin.h>

namespace longshore::cpu::LONGSHORE_PATH {

struct V {
  __m256 lo, hi;
};
struct I {
  __m256i lo, hi;
};

LONGSHORE_INLINE V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
LONGSHORE_INLINE V set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LONGSHORE_INLINE I setInt(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
LONGSHORE_INLINE V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LONGSHORE_INLINE __m256i load8(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
LONGSHORE_INLINE void store8(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
LONGSHORE_INLINE I load(const int32_t* p) { return {load8(p), load8(p + 8)}; }
LONGSHORE_INLINE void store(float* p, V v) {
  _mm256_storeu_ps(p, v.lo);
  _mm256_storeu_ps(p + 8, v.hi);
}
LONGSHORE_INLINE void store(int32_t* p, I v) {
  store8(p, v.lo);
  store8(p + 8, v.hi);
}

LONGSHORE_INLINE V add(V a, V b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
LONGSHORE_INLINE V sub(V a, V b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
LONGSHORE_INLINE V mul(V a, V b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
LONGSHORE_INLINE V div(V a, V b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
LONGSHORE_INLINE V min(V a, V b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
LONGSHORE_INLINE V max(V a, V b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
LONGSHORE_INLINE V sqrt(V a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
LONGSHORE_INLINE V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }

LONGSHORE_INLINE I bits(V v) { return {_mm256_castps_si256(v.lo), _mm256_castps_si256(v.hi)}; }
LONGSHORE_INLINE V floats(I v) { return {_mm256_castsi256_ps(v.lo), _mm256_castsi256_ps(v.hi)}; }
LONGSHORE_INLINE I toInt(V v) { return {_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi)}; }
LONGSHORE_INLINE V toFloat(I v) { return {_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)}; }
LONGSHORE_INLINE I addInt(I a, I b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
LONGSHORE_INLINE I andInt(I a, I b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
LONGSHORE_INLINE I xorInt(I a, I b) { return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
template <int n>
LONGSHORE_INLINE I shiftLeft(I v) { return {_mm256_slli_epi32(v.lo, n), _mm256_slli_epi32(v.hi, n)}; }
LONGSHORE_INLINE I shiftLeft(I v, I n) { return {_mm256_sllv_epi32(v.lo, n.lo), _mm256_sllv_epi32(v.hi, n.hi)}; }
template <int n>
LONGSHORE_INLINE I shiftRight(I v) { return {_mm256_srai_epi32(v.lo, n), _mm256_srai_epi32(v.hi, n)}; }
LONGSHORE_INLINE uint32_t signs(__m256i v) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(v))); }
LONGSHORE_INLINE uint32_t moreThan(I a, I b) { return signs(_mm256_cmpgt_epi32(a.lo, b.lo)) | signs(_mm256_cmpgt_epi32(a.hi, b.hi)) << 8; }

LONGSHORE_INLINE V evens(V v) { return {_mm256_moveldup_ps(v.lo), _mm256_moveldup_ps(v.hi)}; }
LONGSHORE_INLINE V odds(V v) { return {_mm256_movehdup_ps(v.lo), _mm256_movehdup_ps(v.hi)}; }
template <int n>
LONGSHORE_INLINE V swap(V v) {
  if constexpr (n == 1) return {_mm256_permute_ps(v.lo, 0xB1), _mm256_permute_ps(v.hi, 0xB1)};
  if constexpr (n == 2) return {_mm256_permute_ps(v.lo, 0x4E), _mm256_permute_ps(v.hi, 0x4E)};
  if constexpr (n == 4) return {_mm256_permute2f128_ps(v.lo, v.lo, 1), _mm256_permute2f128_ps(v.hi, v.hi, 1)};
  if constexpr (n == 8) return {v.hi, v.lo};
}
LONGSHORE_INLINE float first(V v) { return _mm256_cvtss_f32(v.lo); }

LONGSHORE_INLINE __m128i load4(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

LONGSHORE_INLINE V load(const Bf16* p) {
  const auto widen = [](const Bf16* q) { return _mm256_slli_epi32(_mm256_cvtepu16_epi32(load4(q)), 16); };
  return floats(I{widen(p), widen(p + 8)});
}

LONGSHORE_INLINE __m256i bf16Of(__m256 v) {
  const __m256i x = _mm256_castps_si256(v);
  const __m256i tie = _mm256_and_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(x, _mm256_set1_epi32(0x7FFF)), tie), 16);
  const __m256i quieted = _mm256_or_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(rounded, quieted, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}

LONGSHORE_INLINE void store(Bf16* p, V v) {
  store8(p, _mm256_permute4x64_epi64(_mm256_packus_epi32(bf16Of(v.lo), bf16Of(v.hi)), 0xD8));
}

// Eight codes in 16 bits each, their signs extended. Shifted into the fields of an fp16 a code is 2^-8 times its value,
// and widening a denormal one needs no help from microcode, as arithmetic would.
LONGSHORE_INLINE __m256 e4m3Of(__m128i codes) {
  const __m128i fields = _mm_and_si128(_mm_slli_epi16(codes, 7), _mm_set1_epi16(static_cast<int16_t>(0xBF80)));
  return _mm256_mul_ps(_mm256_cvtph_ps(fields), _mm256_set1_ps(256.0f));
}

// 16 bytes; NaN codes come out as 480 (see holdsNan in weights.h).
LONGSHORE_INLINE V decodeE4m3(const uint8_t* p) {
  const __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {e4m3Of(_mm256_castsi256_si128(codes)), e4m3Of(_mm256_extracti128_si256(codes, 1))};
}

LONGSHORE_INLINE __m256 e2m1Of(__m128i nibbles) {
  const __m256 magnitudes = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
  const __m256i codes = _mm256_cvtepu8_epi32(nibbles);
  const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(codes, 3), 31);
  return _mm256_xor_ps(_mm256_permutevar8x32_ps(magnitudes, codes), _mm256_castsi256_ps(sign));  // looks at the low three bits only
}

// 16 nibbles from 8 bytes.
LONGSHORE_INLINE V decodeE2m1(const uint8_t* p) {
  const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i nibbles = _mm_unpacklo_epi8(pairs, _mm_srli_epi16(pairs, 4));
  return {e2m1Of(nibbles), e2m1Of(_mm_unpackhi_epi64(nibbles, nibbles))};
}

LONGSHORE_INLINE float sum(V v) {
  v.lo = _mm256_add_ps(v.lo, v.hi);
  __m128 quad = _mm_add_ps(_mm256_castps256_ps128(v.lo), _mm256_extractf128_ps(v.lo, 1));
  quad = _mm_add_ps(quad, _mm_permute_ps(quad, 0x4E));
  return _mm_cvtss_f32(_mm_add_ps(quad, _mm_permute_ps(quad, 0xB1)));
}

static constexpr int kTileM = 2, kTileN = 3;

// One half of a tile's step. Left to itself GCC 12 reads x from memory once per column, and loads become the limit: the
// empty statement keeps x in a register.
LONGSHORE_INLINE void stepHalf(__m256* const (&acc)[6], const float* const* x, const float* w, int64_t K, int64_t k) {
  __m256 x0 = _mm256_loadu_ps(x[0] + k), x1 = _mm256_loadu_ps(x[1] + k);
  LONGSHORE_UNROLL for (int n = 0; n < 3; n++) {
    __m256 ws = _mm256_loadu_ps(w + n * K + k);
    __asm__("" : "+x"(ws), "+x"(x0), "+x"(x1));
    *acc[n] = _mm256_fmadd_ps(x0, ws, *acc[n]);
    *acc[3 + n] = _mm256_fmadd_ps(x1, ws, *acc[3 + n]);
  }
}

// The step of products.h for this instruction set's tile.
LONGSHORE_INLINE void stepTile(V (&acc)[2][3], const float* const* x, const float* w, int64_t K, int64_t k) {
  stepHalf({&acc[0][0].lo, &acc[0][1].lo, &acc[0][2].lo, &acc[1][0].lo, &acc[1][1].lo, &acc[1][2].lo}, x, w, K, k);
  stepHalf({&acc[0][0].hi, &acc[0][1].hi, &acc[0][2].hi, &acc[1][0].hi, &acc[1][1].hi, &acc[1][2].hi}, x, w, K, k + 8);
}

// out[m * stride + n] = the sum of the lanes of acc[m][n].
LONGSHORE_INLINE void sumTile(const V (&acc)[2][3], float* out, int64_t stride) {
  LONGSHORE_UNROLL for (int n = 0; n < 3; n++) {
    const __m256 a = _mm256_add_ps(acc[0][n].lo, acc[0][n].hi);
    const __m256 b = _mm256_add_ps(acc[1][n].lo, acc[1][n].hi);
    __m256 both = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    both = _mm256_add_ps(both, _mm256_permute_ps(both, 0x4E));
    both = _mm256_add_ps(both, _mm256_permute_ps(both, 0xB1));
    out[n] = _mm256_cvtss_f32(both);
    out[stride + n] = _mm_cvtss_f32(_mm256_extractf128_ps(both, 1));
  }
}

// table[nibble] for the 32 nibbles of 16 bytes:
// the even ones, then the odd ones (for sums, whose order does not matter).
LONGSHORE_INLINE void lookUp(const int8_t (&table)[16], const uint8_t* p, int8_t* to) {
  const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  const __m128i low = _mm_set1_epi8(15);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(values, _mm_and_si128(pairs, low)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16), _mm_shuffle_epi8(values, _mm_and_si128(_mm_srli_epi16(pairs, 4), low)));
}

static constexpr bool kAnyBytes = false;  // whether byteDots can multiply any bytes

// For H rows x of 32 signed bytes: lane l of dots[h] += sum over the bytes of column l. `columns`: 8 groups of 16
// columns of 4 unsigned bytes. Sums of two products and of eight of those must fit 16 bits: |u * s| < 2048.
template <int H>
LONGSHORE_INLINE void byteDots(const uint8_t* columns, const int8_t* x, int64_t stride, I (&dots)[H]) {
  I pairs[H];
  LONGSHORE_UNROLL for (int h = 0; h < H; h++) pairs[h] = setInt(0);
  LONGSHORE_UNROLL for (int g = 0; g < 8; g++) {
    const __m256i lo = load8(columns + 64 * g), hi = load8(columns + 64 * g + 32);
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
      int32_t four;
      std::memcpy(&four, x + h * stride + 4 * g, sizeof four);
      const __m256i bytes = _mm256_set1_epi32(four);
      pairs[h].lo = _mm256_add_epi16(pairs[h].lo, _mm256_maddubs_epi16(lo, bytes));
      pairs[h].hi = _mm256_add_epi16(pairs[h].hi, _mm256_maddubs_epi16(hi, bytes));
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
  LONGSHORE_UNROLL for (int h = 0; h < H; h++) dots[h] = addInt(dots[h], I{_mm256_madd_epi16(pairs[h].lo, ones), _mm256_madd_epi16(pairs[h].hi, ones)});
}

}  // namespace longshore::cpu::LONGSHORE_PATH
