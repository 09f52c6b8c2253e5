// The Sinkhorn-Knopp iteration of hyper-connections (spec 2.1):
// matrices c[j * n + k] of sixteen rows, side by side in the lanes.
#pragma once

#include <type_traits>

#include "math.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Divides c[start + i * step] for all i by their sum plus eps.
LONGSHORE_INLINE void normalise(int64_t n, V* c, int64_t start, int64_t step, V eps) {
  V sum = c[start];
  LONGSHORE_UNROLL for (int64_t i = 1; i < n; i++) sum = LONGSHORE_PATH::add(sum, c[start + i * step]);
  const V factor = div(set(1.0f), LONGSHORE_PATH::add(sum, eps));
  LONGSHORE_UNROLL for (int64_t i = 0; i < n; i++) c[start + i * step] = mul(c[start + i * step], factor);
}

LONGSHORE_INLINE void softmax(int64_t n, V* row, V eps) {
  V largest = row[0], sum = zero();
  for (int64_t k = 1; k < n; k++) largest = max(largest, row[k]);
  for (int64_t k = 0; k < n; k++) {
    row[k] = exp(sub(row[k], largest));
    sum = LONGSHORE_PATH::add(sum, row[k]);
  }
  for (int64_t k = 0; k < n; k++) row[k] = LONGSHORE_PATH::add(div(row[k], sum), eps);
}

LONGSHORE_INLINE void alternate(int64_t n, V* c, int32_t iterations, V eps) {
  LONGSHORE_UNROLL for (int64_t k = 0; k < n; k++) normalise(n, c, k, n, eps);
  for (int32_t i = 1; i < iterations; i++) {
    LONGSHORE_UNROLL for (int64_t j = 0; j < n; j++) normalise(n, c, j * n, 1, eps);
    LONGSHORE_UNROLL for (int64_t k = 0; k < n; k++) normalise(n, c, k, n, eps);
  }
}

// `copies`: n, a constant if the matrices are to stay in registers meanwhile.
template <class N>
LONGSHORE_INLINE void sinkhorn(N copies, V* c, int32_t iterations, V eps) {
  const int64_t n = copies;
  for (int64_t j = 0; j < n; j++) softmax(n, c + j * n, eps);
  if constexpr (std::is_same_v<N, int64_t>) {
    alternate(n, c, iterations, eps);
  } else {  // in registers
    V held[N::value * N::value];
    LONGSHORE_UNROLL for (int64_t i = 0; i < n * n; i++) held[i] = c[i];
    alternate(n, held, iterations, eps);
    LONGSHORE_UNROLL for (int64_t i = 0; i < n * n; i++) c[i] = held[i];
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
