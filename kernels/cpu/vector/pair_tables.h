// FP8 and FP4 codes times an E8M0 scale, as bf16: one table per scale, so that a weight costs one look-up whatever its
// scale. A checkpoint uses few scales: their tables stay in the L1 cache.
#pragma once

#include <cstdint>

namespace longshore::cpu::LONGSHORE_PATH {

// magnitude * 2^exponent, 0 <= magnitude < 256. What is too small for a normal bf16 becomes zero, as in multiplyAdd.
constexpr uint16_t bf16Of(uint32_t magnitude, int exponent) {
  if (magnitude == 0) return 0;
  for (; magnitude < 128; exponent--) magnitude *= 2;
  const int field = exponent + 7 + 127;
  if (field >= 255) return 0x7F80;
  return field <= 0 ? 0 : static_cast<uint16_t>(static_cast<uint32_t>(field) << 7 | (magnitude & 127));
}

constexpr uint16_t kBf16Nan = 0x7FC0;

constexpr uint16_t scaledE4m3Code(uint32_t magnitude, int scale) {
  if (magnitude == 127 || scale == 255) return kBf16Nan;
  const uint32_t field = magnitude >> 3, fraction = magnitude & 7;
  return field == 0 ? bf16Of(fraction, scale - 127 - 9) : bf16Of(8 + fraction, static_cast<int>(field) + scale - 127 - 10);
}

constexpr uint16_t scaledE2m1Code(uint32_t code, int scale) {
  constexpr uint8_t doubled[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  return scale == 255 ? kBf16Nan : static_cast<uint16_t>(bf16Of(doubled[code & 7], scale - 128) | (code & 8) << 12);
}

// Lower and upper bytes, by magnitude.
struct E4m3Table {
  uint8_t low[128], high[128];
};

struct alignas(64) E4m3Tables {
  E4m3Table of[256];
  constexpr E4m3Tables() : of{} {
    for (int scale = 0; scale < 256; scale++) {
      for (uint32_t m = 0; m < 128; m++) {
        const uint16_t x = scaledE4m3Code(m, scale);
        of[scale].low[m] = static_cast<uint8_t>(x);
        of[scale].high[m] = static_cast<uint8_t>(x >> 8);
      }
    }
  }
};

struct alignas(64) E2m1Tables {
  uint16_t of[256][32];  // twice the 16 codes
  constexpr E2m1Tables() : of{} {
    for (int scale = 0; scale < 256; scale++) {
      for (uint32_t i = 0; i < 32; i++) of[scale][i] = scaledE2m1Code(i & 15, scale);
    }
  }
};

inline constexpr E4m3Tables kE4m3Tables;
inline constexpr E2m1Tables kE2m1Tables;

}  // namespace longshore::cpu::LONGSHORE_PATH
