// Products of whole blocks of tiles. The first operand is sixteen rows of weights a block, the second sixteen rows of
// activations:
//
//   panel   [blocks][steps] tiles: 16 rows x 32 k as bf16, zeros after the last k
//   packed  [blocks][steps][terms] tiles: 16 pairs of k x 16 rows; bf16 activations are one term, fp32 ones three:
//           their rounding to bf16, the rounding of what is left, and the rest, which is then exact
//   acc     accumulators: 16 weight rows x 16 activation rows. Of multiplyBlocks: one block of the panel after the other,
//           Sums::stride from one block of activations to the next; of multiplyMatrix: see sumsOf
//
// A sum takes the steps in order of k, and the terms of each in order. Cutting K anywhere between steps changes no bit:
// accumulators are fp32 in memory as in tiles. What happens within a step is the path's order: that of tile.h
// (product.cc), or that of pairs.h (chains.cc).
#pragma once

#include "layout.h"

#if defined(LONGSHORE_TILES)
#include "tile.h"
#endif

namespace longshore::cpu::LONGSHORE_PATH {

#if !defined(LONGSHORE_TILES)
// There is nothing to set up.
struct Tiles {
  Tiles() {}
};
#endif

template <class E>
static constexpr int kTerms = std::is_same_v<E, float> ? 3 : 1;

LONGSHORE_INLINE int64_t stepsOf(int64_t K) { return blocksOf(K, kStep); }

// Weight rows and steps of one panel.
static constexpr int64_t kPanelRows = 32, kPanelSteps = 16;
static constexpr int64_t kPanelHalves = kPanelRows / kTile * kPanelSteps * kTileHalves;

// Halves from one block of packed rows to the next. A product takes kPanelSteps of each
// block. Blocks a power of two apart would crowd those into a few sets of the L2 cache;
// with this distance, each block begins where the one before ends, as far as sets go.
template <class E>
LONGSHORE_INLINE int64_t packedBlock(int64_t K) {
  const int64_t steps = stepsOf(K);
  return (steps > kPanelSteps ? steps + kPanelSteps : steps) * kTerms<E> * kTileHalves;
}

// Packs sixteen rows of K elements into a block of `packed`.
template <class E>
void packRows(const E* const (&rows)[kTile], int64_t K, Bf16* packed);

struct Blocks {
  const Bf16* data;
  int64_t count, stride;     // in halves
  int64_t rows = INT64_MAX;  // of a panel, counted from its first; a multiple of 4, or all: sums of later rows are not used
};
struct Sums {
  float* data;
  int64_t stride;  // floats from one block of activations to the next
};

// Sums of multiplyMatrix are [pairs of blocks of weights, whole ones][blocks of activations][two]: where those of
// blocks n and m lie.
LONGSHORE_INLINE int64_t sumsOf(int64_t xBlocks, int64_t m, int64_t n) { return (n / 2 * 2 * xBlocks + 2 * m + n % 2) * kTileFloats; }

// Writes one pair of k, with sixteen activation rows in the lanes, to its place in `packed`:
// a row of the first term's tile.
template <class E>
LONGSHORE_INLINE void packPair(V even, V odd, Bf16* packed) {
  LONGSHORE_UNROLL for (int term = 0; term < kTerms<E>; term++) {
    storeVector(packed + term * kTileHalves, zip(even, odd));
    even = sub(even, rounded<Bf16>(even));
    odd = sub(odd, rounded<Bf16>(odd));
  }
}

// acc += panel x packed for all pairs of blocks over their first `steps` steps; `fresh`: from zero.
template <int terms>
void multiplyBlocks(const Blocks& panel, const Blocks& packed, int64_t steps, const Sums& acc, bool fresh);

// acc = rows [first, first + count) of `matrix` times packed rows x.
// `tiles` has room for kPanelHalves. The caller keeps a Tiles alive.
template <class E>
void multiplyMatrix(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, int64_t xBlocks, Bf16* tiles, float* acc);

// Calls body(row, n, V) with outputs [n, n + 16) of each of the first M activation rows.
// `columns` counts the weight rows in acc.
template <class Body>
LONGSHORE_INLINE void forOutputs(const float* acc, int64_t M, int64_t columns, Body&& body) {
  for (int64_t m = 0; m < M; m += kTile) {
    for (int64_t n = 0; n < columns; n += kTile) {
      const float* tile = acc + sumsOf(blocksOf(M, kTile), m / kTile, n / kTile);
      V rows[kTile];
      LONGSHORE_UNROLL for (int i = 0; i < kTile; i++) rows[i] = load(tile + i * kTile);
      transpose(rows);
      V out[kTile];
      LONGSHORE_UNROLL for (int i = 0; i < kTile; i++) out[i] = rows[i];
      for (int64_t i = 0; i < minOf(kTile, M - m); i++) body(m + i, n, out[i]);
    }
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
