// Tiles: sixteen rows of 64 bytes. Eight of them are registers. Products are added to an accumulator c:
//
//   addPairs<c, a, b>   c[i][j] += sum over k of a[i][k] * b[k / 2][j][k % 2], 0 <= i, j < 16, 0 <= k < 32;
//                       a and b bf16, c fp32
//   addBytes<c, a, b>   c[i][j] += sum over k of a[i][k] * b[k / 4][j][k % 4], 0 <= k < 64;
//                       a and b signed bytes, c int32 that wraps (TDPBSSD)
//
// So rows of `a` lie as in memory, and `b` holds pairs (fours) of k side by side. Pairs are the third reduction order
// (vec.h, pairs.h):
//
//   even = fma(a[i][k], b[k / 2][j][0], even) for k = 0, 2, ..., 30 from +0; odd likewise; c = c + (even + odd)
//   every step rounds to nearest even, takes denormal operands as zeros and flushes denormal results to 0, signs kept
//
// That is TDPBF16PS (found by experiment: 12.3 million sums over all exponents on a Granite Rapids agree with the twin
// below). One row or column of c depends on the same row of a or column of b alone, so rows that do not exist may hold
// anything finite.
#pragma once

#include "layout.h"

namespace longshore::cpu::LONGSHORE_PATH {

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
LONGSHORE_INLINE void passTile(const void* p) {
  loadTile<t>(p);
}
template <int t>
LONGSHORE_INLINE void storeTile(void* p) {
  std::memcpy(p, tileRegisters.bytes[t], sizeof tileRegisters.bytes[t]);
}
template <int t>
LONGSHORE_INLINE void zeroTile() {
  std::memset(tileRegisters.bytes[t], 0, sizeof tileRegisters.bytes[t]);
}

// Zero, or so large and so small that nothing below rounds twice: a bf16 of 2^-56 or more is a multiple of 2^-63, so
// products are exact in fp32, and sums are multiples of 2^-126, never denormal.
LONGSHORE_INLINE bool isTame(float x) { return x == 0 || (std::fabs(x) >= 0x1p-56f && std::fabs(x) < 0x1p64f); }

// sums[j] = x * w[j] + sums[j], rounded once.
template <bool kTame>
LONGSHORE_INLINE void addColumns(float x, const float (&w)[kTile], float (&sums)[kTile]) {
  for (int j = 0; j < kTile; j++) sums[j] = kTame ? x * w[j] + sums[j] : flushed(std::fma(x, w[j], sums[j]));
}

template <bool kTame>
LONGSHORE_INLINE void addRow(const float (&x)[2 * kTile], const float (&w)[2 * kTile][kTile], float (&sums)[kTile]) {
  float even[kTile] = {}, odd[kTile] = {};
  for (int k = 0; k < 2 * kTile; k += 2) {
    addColumns<kTame>(x[k], w[k], even);
    addColumns<kTame>(x[k + 1], w[k + 1], odd);
  }
  for (int j = 0; j < kTile; j++) sums[j] = flushed(flushed(sums[j]) + flushed(even[j] + odd[j]));
}

// Not inlined: the compiler would take minutes over all the places that add.
__attribute__((noinline)) static inline void addPairsOf(int c, int a, int b) {
  const auto half = [](int t, int i, int k) {
    uint16_t bits;
    std::memcpy(&bits, tileRegisters.bytes[t] + i * kRowBytes + 2 * k, sizeof bits);
    return flushed(bf16Decode(bits));
  };
  float x[kTile][2 * kTile], w[2 * kTile][kTile], sums[kTile][kTile];
  bool tame = true;
  for (int i = 0; i < kTile; i++) {
    for (int k = 0; k < 2 * kTile; k++) tame &= isTame(x[i][k] = half(a, i, k)) & isTame(w[k][i] = half(b, k / 2, 2 * i + k % 2));
  }
  std::memcpy(sums, tileRegisters.bytes[c], sizeof sums);
  for (int i = 0; i < kTile; i++) tame ? addRow<true>(x[i], w, sums[i]) : addRow<false>(x[i], w, sums[i]);
  std::memcpy(tileRegisters.bytes[c], sums, sizeof sums);
}
template <int c, int a, int b>
LONGSHORE_INLINE void addPairs() {
  addPairsOf(c, a, b);
}

template <int c, int a, int b>
LONGSHORE_INLINE void addBytes() {
  const auto byte = [](int t, int64_t i, int64_t k) { return static_cast<int8_t>(tileRegisters.bytes[t][i * kRowBytes + k]); };
  uint32_t sums[kTile][kTile];
  std::memcpy(sums, tileRegisters.bytes[c], sizeof sums);
  for (int64_t k = 0; k < kRowBytes; k++) {
    int32_t column[kTile];
    for (int64_t j = 0; j < kTile; j++) column[j] = byte(b, k / 4, 4 * j + k % 4);
    for (int64_t i = 0; i < kTile; i++) {
      const int32_t x = byte(a, i, k);
      for (int64_t j = 0; j < kTile; j++) sums[i][j] += static_cast<uint32_t>(x * column[j]);
    }
  }
  std::memcpy(tileRegisters.bytes[c], sums, sizeof sums);
}

#else

// Makes the tile registers of this thread usable while it lives.
// All have their full size: the caller fills what a product does not need.
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

// In assembly, because the compiler's intrinsics take no template arguments.
template <int t>
LONGSHORE_INLINE void loadTile(const void* p, int64_t strideBytes = kRowBytes) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(strideBytes), "i"(t) : "memory");
}
// Does not push out what is in the L1 cache: for operands that come from the L2 cache each time.
template <int t>
LONGSHORE_INLINE void passTile(const void* p) {
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(kRowBytes), "i"(t) : "memory");
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
template <int c, int a, int b>
LONGSHORE_INLINE void addBytes() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

#endif

}  // namespace longshore::cpu::LONGSHORE_PATH
