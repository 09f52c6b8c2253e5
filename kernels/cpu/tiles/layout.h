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

// Interleaves halves of a and b. Each has eight groups of four: zipEven takes the even groups, zipOdd the odd ones.
LONGSHORE_INLINE P zipEven(P a, P b) {
  P r;
  for (int i = 0; i < kTile; i++) r.half[2 * i] = a.half[i / 4 * 8 + i % 4], r.half[2 * i + 1] = b.half[i / 4 * 8 + i % 4];
  return r;
}
LONGSHORE_INLINE P zipOdd(P a, P b) {
  P r;
  for (int i = 0; i < kTile; i++) r.half[2 * i] = a.half[i / 4 * 8 + 4 + i % 4], r.half[2 * i + 1] = b.half[i / 4 * 8 + 4 + i % 4];
  return r;
}

// Puts the lanes of the even and of the odd groups of four back in order: the first sixteen and the last sixteen.
LONGSHORE_INLINE void orderGroups(V& even, V& odd) {
  float in[2][kTile], out[2 * kTile];
  store(in[0], even);
  store(in[1], odd);
  for (int i = 0; i < 2 * kTile; i++) out[i] = in[i / 4 % 2][i / 8 * 4 + i % 4];
  even = load(out);
  odd = load(out + kTile);
}

// Lane l: the pair even[l] and odd[l], rounded.
LONGSHORE_INLINE P zip(V even, V odd) {
  const P halves = pairsOf(even, odd);
  P r;
  for (int i = 0; i < kTile; i++) r.half[2 * i] = halves.half[i], r.half[2 * i + 1] = halves.half[kTile + i];
  return r;
}

LONGSHORE_INLINE V lanesOf(P pairs) { return copyFrom<V>(pairs.half); }

// Replaces by zero what is not finite.
LONGSHORE_INLINE P finite(P x) {
  for (uint16_t& half : x.half) half = (half & 0x7F80u) == 0x7F80u ? 0 : half;
  return x;
}

// Whether anything added was not finite.
class NotFinite {
 public:
  LONGSHORE_MEMBER void add(P x) {
    for (const uint16_t half : x.half) found_ |= (half & 0x7F80u) == 0x7F80u;
  }
  LONGSHORE_MEMBER bool found() const { return found_; }

 private:
  bool found_ = false;
};

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

// Interleaves halves of a and b. Each has eight groups of four: zipEven takes the even groups, zipOdd the odd ones.
LONGSHORE_INLINE P zipEven(P a, P b) { return _mm512_unpacklo_epi16(a, b); }
LONGSHORE_INLINE P zipOdd(P a, P b) { return _mm512_unpackhi_epi16(a, b); }

// Puts the lanes of the even and of the odd groups of four back in order: the first sixteen and the last sixteen.
LONGSHORE_INLINE void orderGroups(V& even, V& odd) {
  const V a = _mm512_shuffle_f32x4(even, odd, 0x44), b = _mm512_shuffle_f32x4(even, odd, 0xEE);
  even = _mm512_shuffle_f32x4(a, a, 0xD8);
  odd = _mm512_shuffle_f32x4(b, b, 0xD8);
}

// Lane l: the pair even[l] and odd[l], rounded.
alignas(64) static constexpr uint16_t kHalvesInTurn[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
LONGSHORE_INLINE P zip(V even, V odd) { return _mm512_permutexvar_epi16(_mm512_load_si512(kHalvesInTurn), pairsOf(even, odd)); }

LONGSHORE_INLINE V lanesOf(P pairs) { return floats(pairs); }

// Replaces by zero what is not finite.
LONGSHORE_INLINE P finite(P x) {
  return _mm512_maskz_mov_epi16(_mm512_cmplt_epu16_mask(andInt(x, _mm512_set1_epi16(0x7FFF)), _mm512_set1_epi16(0x7F80)), x);
}

// Whether anything added was not finite: then one more in the exponent changes the sign.
class NotFinite {
 public:
  LONGSHORE_MEMBER void add(P x) { signs_ = _mm512_ternarylogic_epi32(signs_, x, _mm512_add_epi16(x, _mm512_set1_epi16(0x80)), 0xF6); }  // signs | (x ^ more)
  LONGSHORE_MEMBER bool found() const { return _mm512_movepi16_mask(signs_) != 0; }

 private:
  P signs_ = _mm512_setzero_si512();
};

#endif

}  // namespace longshore::cpu::LONGSHORE_PATH
