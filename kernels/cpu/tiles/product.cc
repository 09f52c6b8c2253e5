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
    if constexpr (N > 1) loadTile<5>(w + wStride + s * kTileHalves);
    LONGSHORE_UNROLL for (int term = 0; term < terms; term++) {
      const Bf16* block = x + (s * terms + term) * kTileHalves;
      loadTile<6>(block);
      if constexpr (M > 1) loadTile<7>(block + xStride);
      addPairs<0, 4, 6>();
      if constexpr (N > 1) addPairs<1, 5, 6>();
      if constexpr (M > 1) addPairs<2, 4, 7>();
      if constexpr (M > 1 && N > 1) addPairs<3, 5, 7>();
    }
  }
  storeTile<0>(acc);
  if constexpr (N > 1) storeTile<1>(acc + kTileFloats);
  if constexpr (M > 1) storeTile<2>(acc + accStride);
  if constexpr (M > 1 && N > 1) storeTile<3>(acc + accStride + kTileFloats);
}

template <int n, int terms>
LONGSHORE_INLINE void addTerms(const Bf16* w) {
  loadTile<4>(w);
  addPairs<n, 4, 5>();
  if constexpr (terms > 1) addPairs<n, 4, 6>();
  if constexpr (terms > 2) addPairs<n, 4, 7>();
}

// Four blocks of weights and one of activations: four sums hide the latency of one.
template <int terms>
void multiplyColumn(const Bf16* w, int64_t wStride, const Bf16* x, int64_t steps, float* acc, bool fresh) {
  beginTile<0>(acc, fresh);
  beginTile<1>(acc + kTileFloats, fresh);
  beginTile<2>(acc + 2 * kTileFloats, fresh);
  beginTile<3>(acc + 3 * kTileFloats, fresh);
  for (int64_t s = 0; s < steps; s++) {
    const Bf16* block = x + s * terms * kTileHalves;
    loadTile<5>(block);
    if constexpr (terms > 1) loadTile<6>(block + kTileHalves);
    if constexpr (terms > 2) loadTile<7>(block + 2 * kTileHalves);
    addTerms<0, terms>(w + s * kTileHalves);
    addTerms<1, terms>(w + wStride + s * kTileHalves);
    addTerms<2, terms>(w + 2 * wStride + s * kTileHalves);
    addTerms<3, terms>(w + 3 * wStride + s * kTileHalves);
  }
  storeTile<0>(acc);
  storeTile<1>(acc + kTileFloats);
  storeTile<2>(acc + 2 * kTileFloats);
  storeTile<3>(acc + 3 * kTileFloats);
}

// Rows [first, first + count) and steps [step, step + steps) as tiles; a row that holds a NaN becomes one.
template <class Row>
void decodePanel(const Matrix& matrix, int64_t first, int64_t count, int64_t step, int64_t steps, Bf16* panel) {
  for (int64_t n = 0; n < blocksOf(count, kTile) * kTile; n++) {
    Bf16* to = panel + n / kTile * kPanelSteps * kTileHalves + n % kTile * kStep;
    if (n >= count) {
      for (int64_t s = 0; s < steps; s++) std::memset(to + s * kTileHalves, 0, kRowBytes);
      continue;
    }
    const Row row(matrix, first + n);
    for (int64_t s = 0; s < steps; s++) storeVector(to + s * kTileHalves, vectorAt(row, (step + s) * kStep, matrix.K, to));
    if (step == 0 && row.holdsNan(matrix.K)) setNan(to);
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
  const int64_t steps = stepsOf(matrix.K), accStride = blocksOf(count, kTile) * kTileFloats;
  for (int64_t step = 0; step < steps; step += kPanelSteps) {
    const Blocks packed = {x + step * kTerms<E> * kTileHalves, xBlocks, packedBlock<E>(matrix.K)};
    const int64_t some = minOf(kPanelSteps, steps - step);
    for (int64_t n = 0; n < count; n += kPanelRows) {
      const int64_t rows = minOf(kPanelRows, count - n);
      withRows(matrix.w.dtype, [&](auto row) { decodePanel<decltype(row)>(matrix, first + n, rows, step, some, panel); });
      multiplyBlocks<kTerms<E>>({panel, blocksOf(rows, kTile), kPanelSteps * kTileHalves}, packed, some, {acc + n / kTile * kTileFloats, accStride}, step == 0);
    }
  }
}

template void multiplyBlocks<1>(const Blocks&, const Blocks&, int64_t, const Sums&, bool);
template void multiplyMatrix<float>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);
template void multiplyMatrix<Bf16>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);

}  // namespace longshore::cpu::LONGSHORE_PATH
