// Sixteen lanes in four registers: NEON, as every aarch64 processor has it.
#pragma once

#include <arm_neon.h>

namespace longshore::cpu::LONGSHORE_PATH {

struct V {
  float32x4_t quad[4];
};
struct I {
  int32x4_t quad[4];
};

template <class R, class Body>
LONGSHORE_INLINE R quads(Body&& body) {
  return {{body(0), body(1), body(2), body(3)}};
}

LONGSHORE_INLINE V set(float x) { return quads<V>([&](int) { return vdupq_n_f32(x); }); }
LONGSHORE_INLINE V zero() { return set(0.0f); }
LONGSHORE_INLINE I setInt(int32_t x) { return quads<I>([&](int) { return vdupq_n_s32(x); }); }
LONGSHORE_INLINE V load(const float* p) { return quads<V>([&](int q) { return vld1q_f32(p + 4 * q); }); }
LONGSHORE_INLINE I load(const int32_t* p) { return quads<I>([&](int q) { return vld1q_s32(p + 4 * q); }); }
LONGSHORE_INLINE void store(float* p, V v) {
  LONGSHORE_UNROLL for (int q = 0; q < 4; q++) vst1q_f32(p + 4 * q, v.quad[q]);
}
LONGSHORE_INLINE void store(int32_t* p, I v) {
  LONGSHORE_UNROLL for (int q = 0; q < 4; q++) vst1q_s32(p + 4 * q, v.quad[q]);
}

LONGSHORE_INLINE V add(V a, V b) { return quads<V>([&](int q) { return vaddq_f32(a.quad[q], b.quad[q]); }); }
LONGSHORE_INLINE V sub(V a, V b) { return quads<V>([&](int q) { return vsubq_f32(a.quad[q], b.quad[q]); }); }
LONGSHORE_INLINE V mul(V a, V b) { return quads<V>([&](int q) { return vmulq_f32(a.quad[q], b.quad[q]); }); }
LONGSHORE_INLINE V div(V a, V b) { return quads<V>([&](int q) { return vdivq_f32(a.quad[q], b.quad[q]); }); }
LONGSHORE_INLINE V sqrt(V a) { return quads<V>([&](int q) { return vsqrtq_f32(a.quad[q]); }); }
LONGSHORE_INLINE V fma(V a, V b, V c) { return quads<V>([&](int q) { return vfmaq_f32(c.quad[q], a.quad[q], b.quad[q]); }); }
// FMIN and FMAX would give NaN where one operand is NaN.
LONGSHORE_INLINE V min(V a, V b) { return quads<V>([&](int q) { return vbslq_f32(vcltq_f32(a.quad[q], b.quad[q]), a.quad[q], b.quad[q]); }); }
LONGSHORE_INLINE V max(V a, V b) { return quads<V>([&](int q) { return vbslq_f32(vcgtq_f32(a.quad[q], b.quad[q]), a.quad[q], b.quad[q]); }); }

LONGSHORE_INLINE I bits(V v) { return quads<I>([&](int q) { return vreinterpretq_s32_f32(v.quad[q]); }); }
LONGSHORE_INLINE V floats(I v) { return quads<V>([&](int q) { return vreinterpretq_f32_s32(v.quad[q]); }); }
// FCVTNS saturates, and turns NaN into 0.
LONGSHORE_INLINE I toInt(V v) {
  return quads<I>([&](int q) {
    const uint32x4_t fits = vcaltq_f32(v.quad[q], vdupq_n_f32(0x1p31f));
    return vbslq_s32(fits, vcvtnq_s32_f32(v.quad[q]), vdupq_n_s32(INT32_MIN));
  });
}
LONGSHORE_INLINE V toFloat(I v) { return quads<V>([&](int q) { return vcvtq_f32_s32(v.quad[q]); }); }
LONGSHORE_INLINE I addInt(I a, I b) { return quads<I>([&](int q) { return vaddq_s32(a.quad[q], b.quad[q]); }); }
LONGSHORE_INLINE I andInt(I a, I b) { return quads<I>([&](int q) { return vandq_s32(a.quad[q], b.quad[q]); }); }
LONGSHORE_INLINE I xorInt(I a, I b) { return quads<I>([&](int q) { return veorq_s32(a.quad[q], b.quad[q]); }); }
template <int n>
LONGSHORE_INLINE I shiftLeft(I v) { return quads<I>([&](int q) { return vshlq_n_s32(v.quad[q], n); }); }
LONGSHORE_INLINE I shiftLeft(I v, I n) { return quads<I>([&](int q) { return vshlq_s32(v.quad[q], n.quad[q]); }); }
template <int n>
LONGSHORE_INLINE I shiftRight(I v) { return quads<I>([&](int q) { return vshrq_n_s32(v.quad[q], n); }); }

LONGSHORE_INLINE uint32_t moreThan(I a, I b) {
  static constexpr uint8_t kBits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto halves = [&](int q) {
    const uint32x4_t low = vcgtq_s32(a.quad[q], b.quad[q]), high = vcgtq_s32(a.quad[q + 1], b.quad[q + 1]);
    return vreinterpretq_u8_u16(vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high)));
  };
  const uint8x16_t set = vandq_u8(vuzp1q_u8(halves(0), halves(2)), vld1q_u8(kBits));
  return static_cast<uint32_t>(vaddv_u8(vget_low_u8(set)) | vaddv_u8(vget_high_u8(set)) << 8);
}

LONGSHORE_INLINE V evens(V v) { return quads<V>([&](int q) { return vtrn1q_f32(v.quad[q], v.quad[q]); }); }
LONGSHORE_INLINE V odds(V v) { return quads<V>([&](int q) { return vtrn2q_f32(v.quad[q], v.quad[q]); }); }
template <int n>
LONGSHORE_INLINE V swap(V v) {
  if constexpr (n == 1) return quads<V>([&](int q) { return vrev64q_f32(v.quad[q]); });
  if constexpr (n == 2) return quads<V>([&](int q) { return vextq_f32(v.quad[q], v.quad[q], 2); });
  if constexpr (n == 4) return {{v.quad[1], v.quad[0], v.quad[3], v.quad[2]}};
  if constexpr (n == 8) return {{v.quad[2], v.quad[3], v.quad[0], v.quad[1]}};
}
LONGSHORE_INLINE float first(V v) { return vgetq_lane_f32(v.quad[0], 0); }

// Widens sixteen bf16, given as their bits, to fp32.
LONGSHORE_INLINE V widened(uint16x8_t low, uint16x8_t high) {
  const auto quad = [](uint16x4_t halves) { return vreinterpretq_f32_u32(vshll_n_u16(halves, 16)); };
  return {{quad(vget_low_u16(low)), quad(vget_high_u16(low)), quad(vget_low_u16(high)), quad(vget_high_u16(high))}};
}

LONGSHORE_INLINE uint16x8_t load8(const Bf16* p) { return vreinterpretq_u16_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p))); }
LONGSHORE_INLINE V load(const Bf16* p) { return widened(load8(p), load8(p + 8)); }

LONGSHORE_INLINE uint16x4_t bf16Of(float32x4_t v) {
  const uint32x4_t x = vreinterpretq_u32_f32(v);
  const uint32x4_t tie = vandq_u32(vshrq_n_u32(x, 16), vdupq_n_u32(1));
  const uint16x4_t rounded = vaddhn_u32(vaddq_u32(x, tie), vdupq_n_u32(0x7FFF));
  const uint16x4_t quieted = vorr_u16(vshrn_n_u32(x, 16), vdup_n_u16(0x40));
  return vbsl_u16(vmovn_u32(vceqq_f32(v, v)), rounded, quieted);
}

LONGSHORE_INLINE void store(Bf16* p, V v) {
  uint8_t* to = reinterpret_cast<uint8_t*>(p);
  LONGSHORE_UNROLL for (int q = 0; q < 4; q++) vst1_u8(to + 8 * q, vreinterpret_u8_u16(bf16Of(v.quad[q])));
}

// 16 bytes; NaN codes come out as 480 (see holdsNan in weights.h).
// Shifted into the fields of an fp32 a code is 2^-120 times its value.
LONGSHORE_INLINE V decodeE4m3(const uint8_t* p) {
  const int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(p));
  const auto fields = [](int8x8_t c) { return vandq_u16(vreinterpretq_u16_s16(vshll_n_s8(c, 4)), vdupq_n_u16(0x87F0)); };
  return mul(widened(fields(vget_low_s8(codes)), fields(vget_high_s8(codes))), set(0x1p120f));
}

// 16 nibbles from 8 bytes, by tables of the two bytes of a bf16.
LONGSHORE_INLINE V decodeE2m1(const uint8_t* p) {
  static constexpr uint8_t kLow[16] = {0, 0, 0x80, 0xC0, 0, 0x40, 0x80, 0xC0, 0, 0, 0x80, 0xC0, 0, 0x40, 0x80, 0xC0};
  static constexpr uint8_t kHigh[16] = {0, 0x3F, 0x3F, 0x3F, 0x40, 0x40, 0x40, 0x40, 0x80, 0xBF, 0xBF, 0xBF, 0xC0, 0xC0, 0xC0, 0xC0};
  const uint8x8_t pairs = vld1_u8(p);
  const uint8x8x2_t zipped = vzip_u8(vand_u8(pairs, vdup_n_u8(15)), vshr_n_u8(pairs, 4));
  const uint8x16_t nibbles = vcombine_u8(zipped.val[0], zipped.val[1]);
  const uint8x16_t low = vqtbl1q_u8(vld1q_u8(kLow), nibbles), high = vqtbl1q_u8(vld1q_u8(kHigh), nibbles);
  return widened(vreinterpretq_u16_u8(vzip1q_u8(low, high)), vreinterpretq_u16_u8(vzip2q_u8(low, high)));
}

LONGSHORE_INLINE float sum(V v) {
  const float32x4_t quad = vaddq_f32(vaddq_f32(v.quad[0], v.quad[2]), vaddq_f32(v.quad[1], v.quad[3]));
  return vpadds_f32(vadd_f32(vget_low_f32(quad), vget_high_f32(quad)));
}

static constexpr int kTileM = 2, kTileN = 2;

// out[m * stride + n] = the sum of the lanes of acc[m][n].
LONGSHORE_INLINE void sumTile(const V (&acc)[2][2], float* out, int64_t stride) {
  LONGSHORE_UNROLL for (int m = 0; m < 2; m++) {
    LONGSHORE_UNROLL for (int n = 0; n < 2; n++) out[m * stride + n] = sum(acc[m][n]);
  }
}

// table[nibble] for the 32 nibbles of 16 bytes:
// the even ones, then the odd ones (for sums, whose order does not matter).
LONGSHORE_INLINE void lookUp(const int8_t (&table)[16], const uint8_t* p, int8_t* to) {
  const uint8x16_t pairs = vld1q_u8(p);
  const int8x16_t values = vld1q_s8(table);
  vst1q_s8(to, vqtbl1q_s8(values, vandq_u8(pairs, vdupq_n_u8(15))));
  vst1q_s8(to + 16, vqtbl1q_s8(values, vshrq_n_u8(pairs, 4)));
}

static constexpr bool kAnyBytes = false;  // whether byteDots can multiply any bytes

// For H rows x of 32 signed bytes: lane l of dots[h] += sum over the bytes of
// column l. `columns`: 8 groups of 16 columns of 4 unsigned bytes. Columns hold
// bytes below 128, and sums of eight products must fit 16 bits: |u * s| < 4096.
template <int H>
LONGSHORE_INLINE void byteDots(const uint8_t* columns, const int8_t* x, int64_t stride, I (&dots)[H]) {
  LONGSHORE_UNROLL for (int q = 0; q < 4; q++) {
    int16x8_t low[H], high[H];
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) low[h] = high[h] = vdupq_n_s16(0);
    LONGSHORE_UNROLL for (int g = 0; g < 8; g++) {
      const int8x16_t four = vreinterpretq_s8_u8(vld1q_u8(columns + 64 * g + 16 * q));
      LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
        int32_t word;
        std::memcpy(&word, x + h * stride + 4 * g, sizeof word);
        const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(word));
        low[h] = vmlal_s8(low[h], vget_low_s8(four), bytes);
        high[h] = vmlal_s8(high[h], vget_high_s8(four), bytes);
      }
    }
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
      dots[h].quad[q] = vaddq_s32(dots[h].quad[q], vpaddq_s32(vpaddlq_s16(low[h]), vpaddlq_s16(high[h])));
    }
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
