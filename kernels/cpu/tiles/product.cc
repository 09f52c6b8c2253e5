#include "product.h"

#include <cstdlib>

#include "decoding.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

template <int n>
LONGSHORE_INLINE void beginTile(const float* acc, bool fresh) {
  if (fresh) zeroTile<n>();
  else loadTile<n>(acc);
}

// Multiplies two blocks of each operand; M = 1 or N = 1 leaves out the second. beside() is what vectors do while a
// step's products are in flight.
template <int N, int M, int terms, class Beside>
LONGSHORE_INLINE void multiplySquare(const Bf16* w, int64_t wStride, const Bf16* x, int64_t xStride, int64_t steps, float* acc, int64_t accStride, bool fresh,
                                     Beside&& beside) {
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
    beside();
  }
  storeTile<0>(acc);
  if constexpr (N > 1) storeTile<1>(acc + kTileFloats);
  if constexpr (M > 1) storeTile<2>(acc + accStride);
  if constexpr (M > 1 && N > 1) storeTile<3>(acc + accStride + kTileFloats);
}

template <int... i, class Body>
LONGSHORE_INLINE void eachOf(std::integer_sequence<int, i...>, Body&& body) {
  (body(std::integral_constant<int, i>()), ...);
}

// body(i) for i < count, as constants: a tile's number must be one.
template <int count, class Body>
LONGSHORE_INLINE void each(Body&& body) {
  eachOf(std::make_integer_sequence<int, count>(), body);
}

// Adds one step of up to N blocks of weights times M of activations:
// sum n, m is in tile n * M + m. Four sums or more hide the latency of one.
template <int N, int M, int terms>
LONGSHORE_INLINE void addStep(const Bf16* w, int64_t wStride, const Bf16* x, int64_t xStride, int64_t blocks) {
  static_assert(N * M <= 6);
  each<M * terms>([&](auto i) LONGSHORE_INLINED {
    constexpr int m = decltype(i)::value / terms, term = decltype(i)::value % terms;
    loadTile<6>(x + m * xStride + term * kTileHalves);
    each<N>([&](auto n) LONGSHORE_INLINED {
      if (n >= blocks) return;
      loadTile<7>(w + n * wStride);
      addPairs<decltype(n)::value * M + m, 7, 6>();
    });
  });
}

template <int N, int M>
LONGSHORE_INLINE void storeSums(float* acc, int64_t accStride, int64_t blocks) {
  each<N * M>([&](auto i) LONGSHORE_INLINED {
    constexpr int n = decltype(i)::value / M, m = decltype(i)::value % M;
    if (n < blocks) storeTile<decltype(i)::value>(acc + m * accStride + n * kTileFloats);
  });
}

template <int terms, class Beside>
LONGSHORE_INLINE void multiplyColumn(const Bf16* w, int64_t wStride, const Bf16* x, int64_t steps, float* acc, bool fresh, Beside&& beside) {
  each<4>([&](auto n) LONGSHORE_INLINED { beginTile<decltype(n)::value>(acc + n * kTileFloats, fresh); });
  for (int64_t s = 0; s < steps; s++) {
    addStep<4, 1, terms>(w + s * kTileHalves, wStride, x + s * terms * kTileHalves, 0, 4);
    beside();
  }
  storeSums<4, 1>(acc, 0, 4);
}

// multiplyBlocks, with a call of beside() for each step of every product of two blocks of activations and two of
// weights, or of a last single block of activations and four of weights. So over four blocks of weights a step calls it
// once for each block of activations.
template <int terms, class Beside>
LONGSHORE_INLINE void multiplyBeside(const Blocks& panel, const Blocks& packed, int64_t steps, const Sums& acc, bool fresh, Beside&& beside) {
  const int64_t accStride = acc.stride;
  const auto w = [&](int64_t n) { return panel.data + n * panel.stride; };
  const auto x = [&](int64_t m) { return packed.data + m * packed.stride; };
  const auto sums = [&](int64_t n, int64_t m) { return acc.data + m * accStride + n * kTileFloats; };
  const int64_t pairs = packed.count / 2 * 2;
  int64_t n = 0;
  for (; n + 2 <= panel.count; n += 2) {
    for (int64_t m = 0; m < pairs; m += 2) multiplySquare<2, 2, terms>(w(n), panel.stride, x(m), packed.stride, steps, sums(n, m), accStride, fresh, beside);
  }
  if (n < panel.count) {
    for (int64_t m = 0; m < pairs; m += 2) multiplySquare<1, 2, terms>(w(n), 0, x(m), packed.stride, steps, sums(n, m), accStride, fresh, beside);
  }
  if (pairs == packed.count) return;
  for (n = 0; n + 4 <= panel.count; n += 4) multiplyColumn<terms>(w(n), panel.stride, x(pairs), steps, sums(n, pairs), fresh, beside);
  for (; n < panel.count; n++) multiplySquare<1, 1, terms>(w(n), 0, x(pairs), 0, steps, sums(n, pairs), accStride, fresh, beside);
}

// Vectors decode the next panel while tiles multiply this one: the two share nothing but loads.
template <class Row, class E>
void multiplyWide(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, int64_t xBlocks, Bf16* panels, float* acc) {
  const int64_t steps = stepsOf(matrix.K), accStride = blocksOf(count, kTile) * kTileFloats;
  const int64_t across = blocksOf(count, kPanelRows), all = across * blocksOf(steps, kPanelSteps);
  const auto rowOf = [&](int64_t i) { return i < all ? i % across * kPanelRows : count; };
  const auto stepOf = [&](int64_t i) { return i < all ? i / across * kPanelSteps : 0; };
  const auto tilesOf = [&](int64_t i) { return panels + i % 2 * kPanelHalves; };
  const auto panelOf = [&](int64_t i) {
    const int64_t n = rowOf(i), step = stepOf(i), next = (rowOf(i + 1) - n) * matrix.K + (stepOf(i + 1) - step) * kStep;
    return WeightPanel<Row, kPanelRows / kTile>(matrix, first + n, count - n, step, minOf(steps, step + kPanelSteps), tilesOf(i), kPanelSteps, {next, next});
  };
  const int64_t share = blocksOf(kPanelRows, Decoding<Row>::kSteps * xBlocks);  // lines of a panel to decode beside each step
  panelOf(0).take(INT64_MAX);
  for (int64_t i = 0; i < all; i++) {
    const int64_t n = rowOf(i), step = stepOf(i);
    const Blocks panel = {tilesOf(i), blocksOf(minOf(kPanelRows, count - n), kTile), kPanelSteps * kTileHalves};
    const Blocks packed = {x + step * kTerms<E> * kTileHalves, xBlocks, packedBlock<E>(matrix.K)};
    auto next = panelOf(i + 1);
    multiplyBeside<kTerms<E>>(panel, packed, minOf(kPanelSteps, steps - step), {acc + n / kTile * kTileFloats, accStride}, step == 0, [&] { next.take(share); });
    next.take(INT64_MAX);
  }
}

// M blocks of activations, one to four: sums stay in their tiles over all of K. N blocks of weights are decoded a few
// steps at a time into the L1 cache, while the steps before are multiplied.
template <class Row, class E, int M>
void multiplyThin(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, Bf16* tiles, float* acc) {
  constexpr int terms = kTerms<E>, N = M == 1 ? 4 : M == 4 ? 1 : 2, together = Decoding<Row>::kSteps;
  constexpr int64_t ring = 2 * together, stride = ring * kTileHalves, rows = N * kTile, ahead = 8 * Row::kPerLine;
  static_assert(N * stride <= 2 * kPanelHalves);
  const int64_t steps = stepsOf(matrix.K), accStride = blocksOf(count, kTile) * kTileFloats;
  for (int64_t n = 0; n < count; n += rows) {
    WeightPanel<Row, N> panel(matrix, first + n, count - n, 0, steps, tiles, ring, {ahead, ahead + (rows - 1) * matrix.K});
    for (auto& block : panel.blocks) block.take(kTile);
    each<N * M>([](auto i) LONGSHORE_INLINED { zeroTile<decltype(i)::value>(); });
    const int64_t blocks = blocksOf(minOf(rows, count - n), kTile);
    for (int64_t s = 0; s < steps; s++) {
      const int64_t part = s % together;  // this part of the blocks decodes the next `together` steps
      for (int64_t b = part * N / together; b < (part + 1) * N / together; b++) panel.blocks[b].take(kTile);
      addStep<N, M, terms>(tiles + s % ring * kTileHalves, stride, x + s * terms * kTileHalves, packedBlock<E>(matrix.K), blocks);
    }
    storeSums<N, M>(acc + n / kTile * kTileFloats, accStride, blocks);
  }
}

}  // namespace

template <int terms>
void multiplyBlocks(const Blocks& panel, const Blocks& packed, int64_t steps, const Sums& acc, bool fresh) {
  multiplyBeside<terms>(panel, packed, steps, acc, fresh, [] {});
}

template <class E>
void multiplyMatrix(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, int64_t xBlocks, Bf16* panels, float* acc) {
  withRows(matrix.w.dtype, [&](auto row) {
    using Row = decltype(row);
    if constexpr (std::is_same_v<Row, PlainRow<float>>) {
      std::abort();  // F32 weights are left to the shared path (path.cc)
    } else {
      switch (xBlocks) {
        case 1: return multiplyThin<Row, E, 1>(matrix, first, count, x, panels, acc);
        case 2: return multiplyThin<Row, E, 2>(matrix, first, count, x, panels, acc);
        case 3: return multiplyThin<Row, E, 3>(matrix, first, count, x, panels, acc);
        case 4: return multiplyThin<Row, E, 4>(matrix, first, count, x, panels, acc);
        default: multiplyWide<Row, E>(matrix, first, count, x, xBlocks, panels, acc);
      }
    }
  });
}

template void multiplyBlocks<1>(const Blocks&, const Blocks&, int64_t, const Sums&, bool);
template void multiplyMatrix<float>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);
template void multiplyMatrix<Bf16>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);

}  // namespace longshore::cpu::LONGSHORE_PATH
