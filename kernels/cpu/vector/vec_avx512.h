// Sixteen lanes in one register: AVX-512 F, BW, DQ, VL and VNNI.
#pragma once

#include <immintrin.h>

namespace longshore::cpu::LONGSHORE_PATH {

using V = __m512;
using I = __m512i;

LONGSHORE_INLINE V zero() { return _mm512_setzero_ps(); }
LONGSHORE_INLINE V set(float x) { return _mm512_set1_ps(x); }
LONGSHORE_INLINE I setInt(int32_t x) { return _mm512_set1_epi32(x); }
LONGSHORE_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
LONGSHORE_INLINE I load(const int32_t* p) { return _mm512_loadu_si512(p); }
LONGSHORE_INLINE void store(float* p, V v) { _mm512_storeu_ps(p, v); }
LONGSHORE_INLINE void store(int32_t* p, I v) { _mm512_storeu_si512(p, v); }

LONGSHORE_INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
LONGSHORE_INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
LONGSHORE_INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
LONGSHORE_INLINE V div(V a, V b) { return _mm512_div_ps(a, b); }
LONGSHORE_INLINE V min(V a, V b) { return _mm512_min_ps(a, b); }
LONGSHORE_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
LONGSHORE_INLINE V sqrt(V a) { return _mm512_sqrt_ps(a); }
LONGSHORE_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }

LONGSHORE_INLINE I bits(V v) { return _mm512_castps_si512(v); }
LONGSHORE_INLINE V floats(I v) { return _mm512_castsi512_ps(v); }
LONGSHORE_INLINE I toInt(V v) { return _mm512_cvtps_epi32(v); }
LONGSHORE_INLINE V toFloat(I v) { return _mm512_cvtepi32_ps(v); }
LONGSHORE_INLINE I addInt(I a, I b) { return _mm512_add_epi32(a, b); }
LONGSHORE_INLINE I andInt(I a, I b) { return _mm512_and_si512(a, b); }
LONGSHORE_INLINE I xorInt(I a, I b) { return _mm512_xor_si512(a, b); }
template <int n>
LONGSHORE_INLINE I shiftLeft(I v) { return _mm512_slli_epi32(v, n); }
LONGSHORE_INLINE I shiftLeft(I v, I n) { return _mm512_sllv_epi32(v, n); }
template <int n>
LONGSHORE_INLINE I shiftRight(I v) { return _mm512_srai_epi32(v, n); }
LONGSHORE_INLINE uint32_t moreThan(I a, I b) { return _mm512_cmpgt_epi32_mask(a, b); }

LONGSHORE_INLINE V timesPower(V x, I n) { return _mm512_scalef_ps(x, toFloat(n)); }

LONGSHORE_INLINE V evens(V v) { return _mm512_moveldup_ps(v); }
LONGSHORE_INLINE V odds(V v) { return _mm512_movehdup_ps(v); }
template <int n>
LONGSHORE_INLINE V swap(V v) {
  if constexpr (n == 1) return _mm512_permute_ps(v, 0xB1);
  if constexpr (n == 2) return _mm512_permute_ps(v, 0x4E);
  if constexpr (n == 4) return _mm512_shuffle_f32x4(v, v, 0xB1);
  if constexpr (n == 8) return _mm512_shuffle_f32x4(v, v, 0x4E);
}
LONGSHORE_INLINE float first(V v) { return _mm512_cvtss_f32(v); }

LONGSHORE_INLINE V load(const Bf16* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// The upper halves of sixteen words.
alignas(64) static constexpr uint16_t kUpper[32] = {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};

LONGSHORE_INLINE void store(Bf16* p, V v) {
  const I x = bits(v);
  const I half = _mm512_mask_blend_epi32(_mm512_test_epi32_mask(x, setInt(0x10000)), setInt(0x7FFF), setInt(0x8000));  // ties go to even
  const I y = _mm512_mask_or_epi32(addInt(x, half), _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), x, setInt(0x400000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(_mm512_permutexvar_epi16(_mm512_load_si512(kUpper), y)));
}

// 16 bytes; NaN codes come out as 480 (see holdsNan in weights.h). Shifted into the fields of an fp16 a code is 2^-8
// times its value, and widening a denormal one needs no help from microcode, as arithmetic would.
LONGSHORE_INLINE V decodeE4m3(const uint8_t* p) {
  const __m256i code = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i fields = _mm256_and_si256(_mm256_slli_epi16(code, 7), _mm256_set1_epi16(static_cast<int16_t>(0xBF80)));
  return mul(_mm512_cvtph_ps(fields), set(256.0f));
}

// 16 nibbles from 8 bytes.
LONGSHORE_INLINE V decodeE2m1(const uint8_t* p) {
  const V values = _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f);
  const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i nibbles = _mm_unpacklo_epi8(pairs, _mm_srli_epi16(pairs, 4));
  return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(nibbles), values);  // looks at the low four bits only
}

// Folds two vectors by n lanes each into the halves (n = 8), quarters (4), ... of one:
// the tree of vec.h, two sums at a time.
LONGSHORE_INLINE V fold8(V a, V b) { return add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE)); }
LONGSHORE_INLINE V fold4(V a, V b) { return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD)); }
LONGSHORE_INLINE V fold2(V a, V b) { return add(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE)); }
LONGSHORE_INLINE V fold1(V a, V b) { return add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD)); }

LONGSHORE_INLINE float sum(V v) {
  v = add(v, swap<8>(v));
  v = add(v, swap<4>(v));
  v = add(v, swap<2>(v));
  return first(add(v, swap<1>(v)));
}

static constexpr int kTileM = 4, kTileN = 4;

// out[m * stride + n] = the sum of the lanes of acc[m][n].
LONGSHORE_INLINE void sumTile(const V (&acc)[4][4], float* out, int64_t stride) {
  V quads[4];
  LONGSHORE_UNROLL for (int n = 0; n < 4; n++) quads[n] = fold4(fold8(acc[0][n], acc[1][n]), fold8(acc[2][n], acc[3][n]));
  const V sums = fold1(fold2(quads[0], quads[1]), fold2(quads[2], quads[3]));
  _mm_storeu_ps(out, _mm512_castps512_ps128(sums));
  _mm_storeu_ps(out + stride, _mm512_extractf32x4_ps(sums, 1));
  _mm_storeu_ps(out + 2 * stride, _mm512_extractf32x4_ps(sums, 2));
  _mm_storeu_ps(out + 3 * stride, _mm512_extractf32x4_ps(sums, 3));
}

// table[nibble] for the 32 nibbles of 16 bytes:
// the even ones, then the odd ones (for sums, whose order does not matter).
LONGSHORE_INLINE void lookUp(const int8_t (&table)[16], const uint8_t* p, int8_t* to) {
  const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  const __m128i low = _mm_set1_epi8(15);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(values, _mm_and_si128(pairs, low)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16), _mm_shuffle_epi8(values, _mm_and_si128(_mm_srli_epi16(pairs, 4), low)));
}

// The same for 32 nibbles of each of sixteen rows, as columns for byteDots.
LONGSHORE_INLINE void lookUpColumns(const int8_t (&table)[16], const uint8_t* const (&rows)[16], int64_t offset, uint8_t* columns) {
  const I values = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), low = _mm512_set1_epi8(15);
  I r[4];  // of rows i, i + 4, i + 8 and i + 12
  LONGSHORE_UNROLL for (int i = 0; i < 4; i++) {
    const auto part = [&](int q) LONGSHORE_INLINED { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i + 4 * q] + offset)); };
    r[i] = _mm512_inserti32x4(_mm512_inserti32x4(_mm512_inserti32x4(_mm512_castsi128_si512(part(0)), part(1), 1), part(2), 2), part(3), 3);
  }
  const I a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpacklo_epi32(r[2], r[3]), c = _mm512_unpackhi_epi32(r[0], r[1]), d = _mm512_unpackhi_epi32(r[2], r[3]);
  const I words[4] = {_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b), _mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d)};
  LONGSHORE_UNROLL for (int j = 0; j < 4; j++) {
    _mm512_storeu_si512(columns + 64 * j, _mm512_shuffle_epi8(values, andInt(words[j], low)));
    _mm512_storeu_si512(columns + 64 * (4 + j), _mm512_shuffle_epi8(values, andInt(_mm512_srli_epi16(words[j], 4), low)));
  }
}

static constexpr bool kAnyBytes = true;  // whether byteDots can multiply any bytes

// Groups of columns that byteDots takes at once.
static constexpr int kGroups = 2;

// For H rows x of 32 signed bytes: lane l of dots[group][h] += sum over the bytes of the group's column l. `columns`: 8
// groups of 16 columns of 4 unsigned bytes; the next group's lie `groupStride` bytes on.
template <int H, int G>
LONGSHORE_INLINE void byteDots(const uint8_t* columns, int64_t groupStride, const int8_t* x, int64_t stride, I (&dots)[G][H]) {
  LONGSHORE_UNROLL for (int k = 0; k < 8; k++) {
    I column[G];
    LONGSHORE_UNROLL for (int g = 0; g < G; g++) column[g] = _mm512_loadu_si512(columns + g * groupStride + 64 * k);
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
      int32_t four;
      std::memcpy(&four, x + h * stride + 4 * k, sizeof four);
      const I bytes = setInt(four);
      LONGSHORE_UNROLL for (int g = 0; g < G; g++) dots[g][h] = _mm512_dpbusd_epi32(dots[g][h], column[g], bytes);
    }
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
