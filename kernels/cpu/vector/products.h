// A tile of dot products: kTileM rows x against kTileN weight rows, decoded.
#pragma once

#include "weights.h"

namespace longshore::cpu::LONGSHORE_PATH {

// acc[m][n] += x[m][k ..] * w[n][k ..]. An instruction set with few registers has a version of its own.
template <class Acc, class E>
LONGSHORE_INLINE void stepTile(Acc& acc, const E* const* x, const E* w, int64_t K, int64_t k) {
  decltype(loadVector(w)) rows[kTileN];
  LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) rows[n] = loadVector(w + n * K + k);
  LONGSHORE_UNROLL for (int m = 0; m < kTileM; m++) {
    const auto xs = loadVector(x[m] + k);
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) acc[m][n] = multiplyAdd(xs, rows[n], acc[m][n]);
  }
}

LONGSHORE_INLINE void clear(Tile& sums) {
  LONGSHORE_UNROLL for (int m = 0; m < kTileM; m++) {
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) sums.of[m][n] = zero();
  }
}

// Adds K products to each sum; rows of w lie K apart.
template <class E>
LONGSHORE_INLINE void addProducts(Tile& sums, const E* const* x, const E* w, int64_t K) {
  for (int64_t k = 0; k < K; k += kVector<E>) stepTile(sums.of, x, w, K, k);
}

}  // namespace longshore::cpu::LONGSHORE_PATH
