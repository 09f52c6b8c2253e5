// The number formats of checkpoints and stored rows, one value at a time:
// the ground truth of every faster encoder and decoder.
//
// Functions are `static inline` on purpose: this header is compiled once per instruction set, and a shared inline body
// could be taken from a translation unit whose instructions the running machine lacks.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace longshore::cpu {

static inline uint32_t bitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float fromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// 2^exponent for -149 <= exponent <= 127, exact.
static inline float powerOfTwo(int exponent) {
  return exponent >= -126 ? fromBits(static_cast<uint32_t>(exponent + 127) << 23) : fromBits(1u << (exponent + 149));
}

// ---- bf16: the upper half of an fp32. Encoding rounds to nearest even; a NaN stays a (quiet) NaN.

static inline float bf16Decode(uint16_t x) { return fromBits(static_cast<uint32_t>(x) << 16); }

static inline uint16_t bf16Encode(float x) {
  const uint32_t bits = bitsOf(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// ---- E4M3 (fn): bias 7, largest 448, no infinities, 0x7F and 0xFF are NaN.

static inline float e4m3Decode(uint8_t x) {
  const uint32_t sign = static_cast<uint32_t>(x & 0x80u) << 24;
  const uint32_t magnitude = x & 0x7Fu;
  if (magnitude == 0x7Fu) return fromBits(sign | 0x7FC00000u);
  if (magnitude < 8u) return fromBits(sign | bitsOf(static_cast<float>(magnitude) * 0x1p-9f));
  return fromBits(sign | ((magnitude << 20) + (120u << 23)));
}

// Nearest even; magnitudes above 448 give 448; NaN gives NaN.
static inline uint8_t e4m3Encode(float x) {
  const uint32_t bits = bitsOf(x);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint8_t>(sign | 0x7Fu);
  if (magnitude >= bitsOf(448.0f)) return static_cast<uint8_t>(sign | 0x7Eu);
  // Below 2^-6 the grid is 2^-9:
  // adding 2^14 leaves exactly those units, rounded to nearest even, in the low mantissa bits.
  if (magnitude < bitsOf(0x1p-6f)) return static_cast<uint8_t>(sign | (bitsOf(fromBits(magnitude) + 0x1p14f) - bitsOf(0x1p14f)));
  const uint32_t rounded = magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

// ---- E8M0: 2^(byte - 127), 255 is NaN.

static inline float e8m0Decode(uint8_t x) { return x == 255 ? fromBits(0x7FC00000u) : powerOfTwo(static_cast<int>(x) - 127); }

// ---- E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives (bit 3). Two values a byte, the first in the low nibble.

static inline float e2m1Decode(uint8_t nibble) {
  static constexpr float magnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return (nibble & 8u) != 0 ? -magnitudes[nibble & 7u] : magnitudes[nibble & 7u];
}

// Ties go to the even code (spec 6.2); above 6 saturates;
// NaN gives 6; -0 and negatives that round to zero keep their sign.
static inline uint8_t e2m1Encode(float x) {
  const uint32_t sign = (bitsOf(x) >> 28) & 8u;
  const float v = std::fabs(x);
  const uint32_t code = v <= 0.25f ? 0 : v < 0.75f ? 1 : v <= 1.25f ? 2 : v < 1.75f ? 3 : v <= 2.5f ? 4 : v < 3.5f ? 5 : v <= 5.0f ? 6 : 7;
  return static_cast<uint8_t>(sign | code);
}

static inline uint8_t nibbleAt(const uint8_t* packed, int64_t i) {
  return static_cast<uint8_t>((packed[i >> 1] >> ((i & 1) * 4)) & 0xFu);
}

// ---- Block scales (spec 6.2): the exponent k of the smallest 2^k with amax <= largest * 2^k, from the bits of amax.
// amax is first raised to the block's floor, so it is never denormal; it must be finite for a meaningful result.

static inline int e4m3ScaleExponent(float amax) {
  const uint32_t bits = bitsOf(amax > 1e-4f ? amax : 1e-4f);
  return static_cast<int>(bits >> 23) - 127 - 8 + ((bits & 0x7FFFFFu) > 0x600000u ? 1 : 0);  // 448 = 1.75 * 2^8
}

static inline int e2m1ScaleExponent(float amax) {
  const uint32_t bits = bitsOf(amax > 0x1.8p-124f ? amax : 0x1.8p-124f);  // 6 * 2^-126
  return static_cast<int>(bits >> 23) - 127 - 2 + ((bits & 0x7FFFFFu) > 0x400000u ? 1 : 0);  // 6 = 1.5 * 2^2
}

// ---- Stored rows (ls_kv_layout, ls_key_layout in kernels.h).

static inline int64_t roundUp(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

static constexpr int64_t kKvBlock = 64;   // NoPE values under one scale; the last block may be shorter
static constexpr int64_t kKeyBlock = 32;  // index key values under one scale
static constexpr int64_t kWeightBlock = 128;  // E4M3 weights: rows and columns under one scale

// Bytes of one KV row; E4M3 layouts: nope | rope | scales | 0..7 zeros.
static inline int64_t kvEntryBytes(int layout, int64_t nope, int64_t rope) {
  const int64_t scales = (nope + kKvBlock - 1) / kKvBlock;
  switch (layout) {
    case 0: return roundUp(nope + 2 * rope + scales, 8);  // LS_KV_E4M3_BF16
    case 1: return roundUp(nope + 4 * rope + scales, 8);  // LS_KV_E4M3_F32
    case 2: return 4 * (nope + rope);                     // LS_KV_F32
    default: return 2 * (nope + rope);                    // LS_KV_BF16
  }
}

static inline int64_t keyBytes(int layout, int64_t dim) {
  return layout == 0 ? dim / 2 + dim / kKeyBlock : layout == 1 ? 4 * dim : 2 * dim;
}

}  // namespace longshore::cpu
