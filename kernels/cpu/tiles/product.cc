#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

template <int n>
LONGSHORE_INLINE void beginTile(const float* acc, bool fresh) {
  if (fresh) zeroTile<n>();
  else loadTile<n>(acc);
}

// Two blocks of each operand; M = 1 or N = 1 leaves out the second one.
template <int N, int M, int terms>
LONGSHORE_INLINE void multiplySquare(const Bf16* w, int64_t wStride, const Bf16* x, int64_t xStride, int64_t steps, float* acc, int64_t accStride, bool fresh) {
  beginTile<0>(acc, fresh);
  if constexpr (N > 1) beginTile<1>(acc + kTileFloats, fresh);
  if constexpr (M > 1) beginTile<2>(acc + accStride, fresh);
  if constexpr (M > 1 && N > 1) beginTile<3>(acc + accStride + kTileFloats, fresh);
  for (int64_t s = 0; s < steps; s++) {
    loadTile<4>(w + s * kTileHalves);
    LONGSHORE_UNROLL for (int term = 0; term < terms; term++) {  // a tile is loaded when a product needs it: the next ones overlap
      const Bf16* block = x + (s * terms + term) * kTileHalves;
      loadTile<6>(block);
      addPairs<0, 4, 6>();
      if constexpr (N > 1) {
        if (term == 0) loadTile<5>(w + wStride + s * kTileHalves);
        addPairs<1, 5, 6>();
      }
      if constexpr (M > 1) loadTile<7>(block + xStride);
      if constexpr (M > 1) addPairs<2, 4, 7>();
      if constexpr (M > 1 && N > 1) addPairs<3, 5, 7>();
    }
  }
  storeTile<0>(acc);
  if constexpr (N > 1) storeTile<1>(acc + kTileFloats);
  if constexpr (M > 1) storeTile<2>(acc + accStride);
  if constexpr (M > 1 && N > 1) storeTile<3>(acc + accStride + kTileFloats);
}

template <int terms>
LONGSHORE_INLINE void loadTerms(const Bf16* x) {
  loadTile<5>(x);
  if constexpr (terms > 1) loadTile<6>(x + kTileHalves);
  if constexpr (terms > 2) loadTile<7>(x + 2 * kTileHalves);
}

template <int n, int terms>
LONGSHORE_INLINE void addTerms(const Bf16* w) {
  loadTile<4>(w);
  addPairs<n, 4, 5>();
  if constexpr (terms > 1) addPairs<n, 4, 6>();
  if constexpr (terms > 2) addPairs<n, 4, 7>();
}

// One step of up to four blocks of weights, `stride` halves apart, and one of activations: four sums hide the latency of one.
template <int terms>
LONGSHORE_INLINE void addColumn(const Bf16* w, int64_t stride, const Bf16* x, int64_t blocks) {
  loadTerms<terms>(x);
  addTerms<0, terms>(w);
  if (blocks > 1) addTerms<1, terms>(w + stride);
  if (blocks > 2) addTerms<2, terms>(w + 2 * stride);
  if (blocks > 3) addTerms<3, terms>(w + 3 * stride);
}

LONGSHORE_INLINE void zeroColumn() {
  zeroTile<0>();
  zeroTile<1>();
  zeroTile<2>();
  zeroTile<3>();
}

LONGSHORE_INLINE void loadColumn(const float* acc) {
  loadTile<0>(acc);
  loadTile<1>(acc + kTileFloats);
  loadTile<2>(acc + 2 * kTileFloats);
  loadTile<3>(acc + 3 * kTileFloats);
}

LONGSHORE_INLINE void storeColumn(float* acc, int64_t blocks) {
  storeTile<0>(acc);
  if (blocks > 1) storeTile<1>(acc + kTileFloats);
  if (blocks > 2) storeTile<2>(acc + 2 * kTileFloats);
  if (blocks > 3) storeTile<3>(acc + 3 * kTileFloats);
}

template <int terms>
void multiplyColumn(const Bf16* w, int64_t wStride, const Bf16* x, int64_t steps, float* acc, bool fresh) {
  if (fresh) zeroColumn();
  else loadColumn(acc);
  for (int64_t s = 0; s < steps; s++) addColumn<terms>(w + s * kTileHalves, wStride, x + s * terms * kTileHalves, 4);
  storeColumn(acc, 4);
}

// Rows [first, first + count) and steps [step, step + steps) as tiles [blocks][stride], zeros for rows that fill the last block; next(row, k):
// where memory will be asked for soon. All rows of a tile come before the next tile: they are written while they are near.
template <class Row, class Next>
LONGSHORE_INLINE void decodeTiles(const Matrix& matrix, int64_t first, int64_t count, int64_t step, int64_t steps, Bf16* tiles, int64_t stride, Next&& next) {
  constexpr int together = kTogether<Row, Bf16>;
  for (int64_t n = 0; n < count; n += kTile) {
    const int64_t rows = minOf(kTile, count - n);
    Bf16* block = tiles + n / kTile * stride;
    if (rows < kTile) std::memset(block, 0, static_cast<size_t>(steps * kTileHalves) * sizeof(Bf16));
    for (int64_t s = 0; s < steps; s += together) {
      const int64_t k = (step + s) * kStep;
      for (int64_t r = 0; r < rows; r++) {
        const Row row(matrix, first + n + r);
        if (k % Row::kPerLine == 0) __builtin_prefetch(next(row, k), 0, 2);
        P vectors[together];
        vectorsAt(row, k, matrix.K, block, vectors);
        LONGSHORE_UNROLL for (int i = 0; i < together; i++) {
          if (s + i < steps) storeVector(block + (s + i) * kTileHalves + r * kStep, vectors[i]);
        }
      }
    }
  }
}

template <class Row, class E>
void multiplyWide(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, int64_t xBlocks, Bf16* panel, float* acc) {
  const int64_t steps = stepsOf(matrix.K), accStride = blocksOf(count, kTile) * kTileFloats;
  for (int64_t step = 0; step < steps; step += kPanelSteps) {
    const Blocks packed = {x + step * kTerms<E> * kTileHalves, xBlocks, packedBlock<E>(matrix.K)};
    const int64_t some = minOf(kPanelSteps, steps - step), stride = kPanelSteps * kTileHalves;
    for (int64_t n = 0; n < count; n += kPanelRows) {
      const int64_t rows = minOf(kPanelRows, count - n);
      decodeTiles<Row>(matrix, first + n, rows, step, some, panel, stride, [&](const Row& row, int64_t k) { return row.addressOf(k + kPanelRows * matrix.K); });
      multiplyBlocks<kTerms<E>>({panel, blocksOf(rows, kTile), stride}, packed, some, {acc + n / kTile * kTileFloats, accStride}, step == 0);
    }
  }
}

// One block of activations: weights are used once. Sums stay in their tiles, and a few steps at a time of four blocks are decoded into the
// first-level cache while those before are multiplied.
template <class Row, class E>
void multiplyThin(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, Bf16* panel, float* acc) {
  constexpr int terms = kTerms<E>, together = kTogether<Row, Bf16>, most = kPanelRows / kTile;
  constexpr int64_t stride = together * kTileHalves, ahead = 8 * Row::kPerLine;
  static_assert(2 * most * stride <= kPanelHalves, "two pieces fit");
  const int64_t steps = stepsOf(matrix.K), K = matrix.K;
  const auto next = [&](const Row& row, int64_t k) { return row.addressOf(k + ahead < K ? k + ahead : k + ahead - K + kPanelRows * K); };
  for (int64_t n = 0; n < count; n += kPanelRows) {
    const int64_t rows = minOf(kPanelRows, count - n);
    const auto decode = [&](int64_t step) {
      decodeTiles<Row>(matrix, first + n, rows, step, minOf(int64_t{together}, steps - step), panel + step / together % 2 * most * stride, stride, next);
    };
    float* sums = acc + n / kTile * kTileFloats;
    const int64_t blocks = blocksOf(rows, kTile);
    zeroColumn();
    decode(0);
    for (int64_t step = 0; step < steps; step += together) {
      if (step + together < steps) decode(step + together);
      for (int64_t s = step; s < minOf(steps, step + together); s++) {
        const Bf16* w = panel + step / together % 2 * most * stride + (s - step) * kTileHalves;
        addColumn<terms>(w, stride, x + s * terms * kTileHalves, blocks);
      }
    }
    storeColumn(sums, blocks);
  }
}

}  // namespace

template <int terms>
void multiplyBlocks(const Blocks& panel, const Blocks& packed, int64_t steps, const Sums& acc, bool fresh) {
  const int64_t accStride = acc.stride;
  const auto w = [&](int64_t n) { return panel.data + n * panel.stride; };
  const auto x = [&](int64_t m) { return packed.data + m * packed.stride; };
  const auto sums = [&](int64_t n, int64_t m) { return acc.data + m * accStride + n * kTileFloats; };
  const int64_t pairs = packed.count / 2 * 2;
  int64_t n = 0;
  for (; n + 2 <= panel.count; n += 2) {
    for (int64_t m = 0; m < pairs; m += 2) multiplySquare<2, 2, terms>(w(n), panel.stride, x(m), packed.stride, steps, sums(n, m), accStride, fresh);
  }
  if (n < panel.count) {
    for (int64_t m = 0; m < pairs; m += 2) multiplySquare<1, 2, terms>(w(n), 0, x(m), packed.stride, steps, sums(n, m), accStride, fresh);
  }
  if (pairs == packed.count) return;
  for (n = 0; n + 4 <= panel.count; n += 4) multiplyColumn<terms>(w(n), panel.stride, x(pairs), steps, sums(n, pairs), fresh);
  for (; n < panel.count; n++) multiplySquare<1, 1, terms>(w(n), 0, x(pairs), 0, steps, sums(n, pairs), accStride, fresh);
}

template <class E>
void multiplyMatrix(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, int64_t xBlocks, Bf16* panel, float* acc) {
  withRows(matrix.w.dtype, [&](auto row) {
    using Row = decltype(row);
    if (xBlocks == 1) multiplyThin<Row, E>(matrix, first, count, x, panel, acc);
    else multiplyWide<Row, E>(matrix, first, count, x, xBlocks, panel, acc);
  });
}

template void multiplyBlocks<1>(const Blocks&, const Blocks&, int64_t, const Sums&, bool);
template void multiplyMatrix<float>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);
template void multiplyMatrix<Bf16>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);

}  // namespace longshore::cpu::LONGSHORE_PATH
