// How operands of products lie: in tiles of sixteen rows of 64 bytes, and how vectors are turned into them.
#pragma once

#include "../vector/weights.h"

namespace longshore::cpu::LONGSHORE_PATH {

static constexpr int64_t kTile = 16;                  // rows of a tile, columns of an accumulator
static constexpr int64_t kTileHalves = 16 * 32;       // bf16 in a tile
static constexpr int64_t kTileFloats = kTile * kTile; // fp32 in an accumulator
static constexpr int64_t kStep = 32;                  // k of one product
static constexpr int64_t kRowBytes = 64;

#if defined(LONGSHORE_PORTABLE)

// Rows become columns.
LONGSHORE_INLINE void transpose(V (&rows)[kTile]) {
  float in[kTile][kTile], out[kTile][kTile];
  for (int i = 0; i < kTile; i++) store(in[i], rows[i]);
  for (int i = 0; i < kTile; i++) {
    for (int j = 0; j < kTile; j++) out[j][i] = in[i][j];
  }
  for (int i = 0; i < kTile; i++) rows[i] = load(out[i]);
}

// Halves 0..15 of a and b in turn; zipHigh: halves 16..31.
LONGSHORE_INLINE P zipLow(P a, P b) {
  P r;
  for (int i = 0; i < kTile; i++) r.half[2 * i] = a.half[i], r.half[2 * i + 1] = b.half[i];
  return r;
}
LONGSHORE_INLINE P zipHigh(P a, P b) {
  P r;
  for (int i = 0; i < kTile; i++) r.half[2 * i] = a.half[kTile + i], r.half[2 * i + 1] = b.half[kTile + i];
  return r;
}

// Lane l: a pair of even[l] and odd[l], rounded.
LONGSHORE_INLINE P zip(V even, V odd) {
  const P halves = pairsOf(even, odd);
  P r;
  for (int i = 0; i < kTile; i++) r.half[2 * i] = halves.half[i], r.half[2 * i + 1] = halves.half[kTile + i];
  return r;
}

LONGSHORE_INLINE V lanesOf(P pairs) { return copyFrom<V>(pairs.half); }

// Zeros for what is not finite.
LONGSHORE_INLINE P finite(P x) {
  for (uint16_t& half : x.half) half = (half & 0x7F80u) == 0x7F80u ? 0 : half;
  return x;
}

#else

// Rows become columns.
LONGSHORE_INLINE void transpose(V (&rows)[kTile]) {
  V a[kTile], b[kTile];
  LONGSHORE_UNROLL for (int i = 0; i < 16; i += 2) {  // pairs of rows, 32 bits each
    a[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
  LONGSHORE_UNROLL for (int i = 0; i < 16; i += 4) {  // then 64 bits
    LONGSHORE_UNROLL for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a[i + j]), _mm512_castps_pd(a[i + j + 2])));
      b[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a[i + j]), _mm512_castps_pd(a[i + j + 2])));
    }
  }
  LONGSHORE_UNROLL for (int i = 0; i < 16; i += 8) {  // then 128
    LONGSHORE_UNROLL for (int j = 0; j < 4; j++) {
      a[i + j] = _mm512_shuffle_f32x4(b[i + j], b[i + j + 4], 0x88);
      a[i + j + 4] = _mm512_shuffle_f32x4(b[i + j], b[i + j + 4], 0xDD);
    }
  }
  LONGSHORE_UNROLL for (int j = 0; j < 8; j++) {
    rows[j] = _mm512_shuffle_f32x4(a[j], a[j + 8], 0x88);
    rows[j + 8] = _mm512_shuffle_f32x4(a[j], a[j + 8], 0xDD);
  }
}

// zipLow: halves 0..15 of a and b in turn; zipHigh: halves 16..31.
alignas(64) static constexpr uint16_t kZip[2][32] = {
    {0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47},
    {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63}};
LONGSHORE_INLINE P zipLow(P a, P b) { return _mm512_permutex2var_epi16(a, _mm512_load_si512(kZip[0]), b); }
LONGSHORE_INLINE P zipHigh(P a, P b) { return _mm512_permutex2var_epi16(a, _mm512_load_si512(kZip[1]), b); }

// Lane l: a pair of even[l] and odd[l], rounded.
LONGSHORE_INLINE P zip(V even, V odd) {
  const P halves = pairsOf(even, odd);
  return zipLow(halves, _mm512_shuffle_i64x2(halves, halves, 0xEE));
}

LONGSHORE_INLINE V lanesOf(P pairs) { return floats(pairs); }

// Zeros for what is not finite.
LONGSHORE_INLINE P finite(P x) {
  return _mm512_maskz_mov_epi16(_mm512_cmplt_epu16_mask(andInt(x, _mm512_set1_epi16(0x7FFF)), _mm512_set1_epi16(0x7F80)), x);
}

#endif

}  // namespace longshore::cpu::LONGSHORE_PATH
