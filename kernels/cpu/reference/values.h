// Reading any number format as double and writing it back with one rounding.
#pragma once

#include "../path.h"

namespace longshore::cpu::reference {

// Element i of a packed or plain tensor.
inline double load(const In& x, int64_t i) {
  switch (x.dtype) {
    case LS_F32: return static_cast<double>(View<float>{x.data}[i]);
    case LS_BF16: return static_cast<double>(bf16Decode(View<uint16_t>{x.data}[i]));
    case LS_F8_E4M3: return static_cast<double>(e4m3Decode(View<uint8_t>{x.data}[i]));
    default: return static_cast<double>(e2m1Decode(nibbleAt(static_cast<const uint8_t*>(x.data), i)));
  }
}

// fp32 with the last bit set where x was not exact: rounding that to bf16 equals rounding x to bf16.
inline float roundToOdd(double x) {
  const float nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || std::isnan(nearest) || std::isinf(x)) return nearest;
  const bool tooLarge = std::fabs(static_cast<double>(nearest)) > std::fabs(x);
  return fromBits((bitsOf(nearest) - (tooLarge ? 1u : 0u)) | 1u);
}

inline void store(const Out& y, int64_t i, double x) {
  if (y.dtype == LS_F32) static_cast<float*>(y.data)[i] = static_cast<float>(x);
  else static_cast<uint16_t*>(y.data)[i] = bf16Encode(roundToOdd(x));
}

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Rows per piece, so that a piece is worth waking a thread for.
inline int64_t grain(int64_t costPerRow) { return costPerRow >= 4096 ? 1 : 4096 / (costPerRow + 1) + 1; }

}  // namespace longshore::cpu::reference
