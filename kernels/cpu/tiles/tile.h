// Tiles: sixteen rows of 64 bytes. Eight of them are registers, which an accumulator adds products to:
//
//   addPairs<c, a, b>   c[i][j] += sum over k of a[i][k] * b[k / 2][j][k % 2], 0 <= i, j < 16, 0 <= k < 32; a and b bf16, c fp32
//
// so rows of `a` lie as in memory, and `b` holds pairs of k side by side. This is the third reduction order (vec.h, pairs.h):
//
//   even = fma(a[i][k], b[k / 2][j][0], even) for k = 0, 2, ..., 30 from +0; odd likewise; c = c + (even + odd)
//   every step rounds to nearest even, takes denormal operands as zeros and gives zeros for denormal results, signs kept
//
// That is TDPBF16PS (found by trying: 12.3 million sums over all exponents on a Granite Rapids agree with the twin below). One row or
// column of c depends on the same row of a or column of b alone, so rows that are not there may hold anything finite.
#pragma once

#include "../vector/weights.h"

namespace longshore::cpu::LONGSHORE_PATH {

static constexpr int64_t kTile = 16;                  // rows of a tile, columns of an accumulator
static constexpr int64_t kTileHalves = 16 * 32;       // bf16 in a tile
static constexpr int64_t kTileFloats = kTile * kTile; // fp32 in an accumulator
static constexpr int64_t kStep = 32;                  // k of one product
static constexpr int64_t kRowBytes = 64;

#if defined(LONGSHORE_PORTABLE)

struct TileRegisters {
  uint8_t bytes[8][kTile * kRowBytes];
};
static thread_local TileRegisters tileRegisters;

class Tiles {
 public:
  Tiles() { tileRegisters = {}; }
};

template <int t>
LONGSHORE_INLINE void loadTile(const void* p, int64_t strideBytes = kRowBytes) {
  for (int64_t i = 0; i < kTile; i++) std::memcpy(tileRegisters.bytes[t] + i * kRowBytes, static_cast<const char*>(p) + i * strideBytes, kRowBytes);
}
template <int t>
LONGSHORE_INLINE void storeTile(void* p) {
  std::memcpy(p, tileRegisters.bytes[t], sizeof tileRegisters.bytes[t]);
}
template <int t>
LONGSHORE_INLINE void zeroTile() {
  std::memset(tileRegisters.bytes[t], 0, sizeof tileRegisters.bytes[t]);
}

using Columns16 = float[kTile];

// sums[j] = x * w[j] + sums[j], rounded once. A product of two bf16 is exact in fp32 while it is normal, so that an addition is enough.
LONGSHORE_INLINE void addColumns(float x, const Columns16& w, Columns16& sums) {
  Columns16 products;
  bool exact = true;
  for (int j = 0; j < kTile; j++) products[j] = x * w[j];
  for (int j = 0; j < kTile; j++) exact &= (std::fabs(products[j]) >= 0x1p-126f && std::fabs(products[j]) < __builtin_inff()) | (x == 0) | (w[j] == 0);
  if (exact) {
    for (int j = 0; j < kTile; j++) sums[j] = flushed(products[j] + sums[j]);
  } else {
    for (int j = 0; j < kTile; j++) sums[j] = flushed(std::fma(x, w[j], sums[j]));
  }
}

template <int c, int a, int b>
LONGSHORE_INLINE void addPairs() {
  const auto half = [](int t, int i, int k) {
    uint16_t bits;
    std::memcpy(&bits, tileRegisters.bytes[t] + i * kRowBytes + 2 * k, sizeof bits);
    return flushed(bf16Decode(bits));
  };
  Columns16 w[2 * kTile], sums[kTile];
  for (int k = 0; k < 2 * kTile; k++) {
    for (int j = 0; j < kTile; j++) w[k][j] = half(b, k / 2, 2 * j + k % 2);
  }
  std::memcpy(sums, tileRegisters.bytes[c], sizeof sums);
  for (int i = 0; i < kTile; i++) {
    Columns16 even = {}, odd = {};
    for (int k = 0; k < 2 * kTile; k += 2) {
      addColumns(half(a, i, k), w[k], even);
      addColumns(half(a, i, k + 1), w[k + 1], odd);
    }
    for (int j = 0; j < kTile; j++) sums[i][j] = flushed(flushed(sums[i][j]) + flushed(even[j] + odd[j]));
  }
  std::memcpy(tileRegisters.bytes[c], sums, sizeof sums);
}

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

#else

// Makes the tile registers of this thread usable while it lives. All have their full size: what a product does not need is filled by the caller.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      uint8_t palette, startRow, reserved[14];
      uint16_t columnBytes[16];
      uint8_t rows[16];
    } shape = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0" : : "m"(shape));
  }
  ~Tiles() { __asm__ volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// In assembly: the compiler's own intrinsics take no template arguments.
template <int t>
LONGSHORE_INLINE void loadTile(const void* p, int64_t strideBytes = kRowBytes) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(strideBytes), "i"(t) : "memory");
}
template <int t>
LONGSHORE_INLINE void storeTile(void* p) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(kRowBytes), "i"(t) : "memory");
}
template <int t>
LONGSHORE_INLINE void zeroTile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(t));
}
template <int c, int a, int b>
LONGSHORE_INLINE void addPairs() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

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

#endif

}  // namespace longshore::cpu::LONGSHORE_PATH
