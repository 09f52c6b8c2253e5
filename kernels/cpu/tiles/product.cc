#include "product.h"

#include <cstdlib>

#include "turns.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

template <int n>
LONGSHORE_INLINE void beginTile(const float* acc, bool fresh) {
  if (fresh) zeroTile<n>();
  else loadTile<n>(acc);
}

// Multiplies two blocks of each operand; M = 1 or N = 1 leaves out the second. beside() is called while a step's
// products are in flight.
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
      passTile<6>(block);
      addPairs<0, 4, 6>();
      if constexpr (N > 1) {
        if (term == 0) loadTile<5>(w + wStride + s * kTileHalves);
        addPairs<1, 5, 6>();
      }
      if constexpr (M > 1) passTile<7>(block + xStride);
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

// multiplyBlocks, with a call of beside() for each step of every product of two blocks of activations, or of a last one.
template <int terms, class Beside>
LONGSHORE_INLINE void multiplyBeside(const Blocks& panel, const Blocks& packed, int64_t steps, const Sums& acc, bool fresh, Beside&& beside) {
  const auto multiply = [&](auto N, auto M, int64_t n, int64_t m) LONGSHORE_INLINED {
    multiplySquare<decltype(N)::value, decltype(M)::value, terms>(panel.data + n * panel.stride, panel.stride, packed.data + m * packed.stride, packed.stride, steps,
                                                                  acc.data + m * acc.stride + n * kTileFloats, acc.stride, fresh, beside);
  };
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, 2> two;
  const int64_t pairs = packed.count / 2 * 2;
  int64_t n = 0;
  for (; n + 2 <= panel.count; n += 2) {
    for (int64_t m = 0; m < pairs; m += 2) multiply(two, two, n, m);
    if (pairs < packed.count) multiply(two, one, n, pairs);
  }
  if (n == panel.count) return;
  for (int64_t m = 0; m < pairs; m += 2) multiply(one, two, n, m);
  if (pairs < packed.count) multiply(one, one, n, pairs);
}

// Asks the L2 cache for the activations of the panel's next steps, line by line, block after block.
template <class E>
class NextSteps {
 public:
  NextSteps(const Bf16* x, int64_t blocks, int64_t K, int64_t begin, int64_t end)
      : x_(x + begin * kTerms<E> * kTileHalves), stride_(packedBlock<E>(K)), blocks_(end > begin ? blocks : 0), lines_((end - begin) * kTerms<E> * kTile) {}

  int64_t lines() const { return blocks_ * lines_; }
  LONGSHORE_MEMBER void ask(int64_t most) {
    for (; most > 0 && block_ < blocks_; most--) {
      __builtin_prefetch(x_ + block_ * stride_ + line_ * kStep, 0, 2);
      if (++line_ == lines_) line_ = 0, block_++;
    }
  }

 private:
  const Bf16* x_;
  int64_t stride_, blocks_, lines_, block_ = 0, line_ = 0;
};

// Two blocks of weights at a time are decoded into the L1 cache, and stay there while all activations pass by.
template <class Row, class E>
void multiplyWide(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, int64_t xBlocks, Bf16* tiles, float* acc) {
  static_assert(kPanelSteps % Decoding<Row>::kSteps == 0);
  constexpr int64_t N = kPanelRows / kTile;
  const int64_t steps = stepsOf(matrix.K), panels = blocksOf(count, kPanelRows);
  for (int64_t step = 0; step < steps; step += kPanelSteps) {
    const int64_t end = minOf(steps, step + kPanelSteps);
    NextSteps<E> next(x, xBlocks, matrix.K, end, minOf(steps, end + kPanelSteps));
    const int64_t share = blocksOf(next.lines(), panels * (xBlocks / 2) * (end - step));
    for (int64_t n = 0; n < count; n += kPanelRows) {
      const int64_t ahead = n + kPanelRows < count ? kPanelRows * matrix.K : kPanelSteps * kStep - n * matrix.K;
      WeightPanel<Row, N> weights(matrix, first + n, count - n, step, end, kPanelSteps, {ahead, ahead, ahead});
      for (int64_t block = 0; block < N; block++) weights.blocks[block].takeRest(tiles + block * kPanelSteps * kTileHalves);
      const Blocks panel = {tiles, blocksOf(minOf(kPanelRows, count - n), kTile), kPanelSteps * kTileHalves};
      const Blocks packed = {x + step * kTerms<E> * kTileHalves, xBlocks, packedBlock<E>(matrix.K)};
      multiplyBeside<kTerms<E>>(panel, packed, end - step, {acc + sumsOf(xBlocks, 0, n / kTile), 2 * kTileFloats}, step == 0, [&] { next.ask(share); });
    }
  }
}

}  // namespace

template <int terms>
void multiplyBlocks(const Blocks& panel, const Blocks& packed, int64_t steps, const Sums& acc, bool fresh) {
  multiplyBeside<terms>(panel, packed, steps, acc, fresh, [] {});
}

template <class E>
void multiplyMatrix(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, int64_t xBlocks, Bf16* tiles, float* acc) {
  withRows(matrix.w.dtype, [&](auto row) {
    using Row = decltype(row);
    if constexpr (std::is_same_v<Row, PlainRow<float>>) {
      std::abort();  // F32 weights are left to the shared path (path.cc)
    } else {
      switch (xBlocks) {
        case 1: return multiplyThin<Row, E, 1>(matrix, first, count, x, tiles, acc);
        case 2: return multiplyThin<Row, E, 2>(matrix, first, count, x, tiles, acc);
        case 3: return multiplyThin<Row, E, 3>(matrix, first, count, x, tiles, acc);
        case 4: return multiplyThin<Row, E, 4>(matrix, first, count, x, tiles, acc);
        default: multiplyWide<Row, E>(matrix, first, count, x, xBlocks, tiles, acc);
      }
    }
  });
}

template void multiplyBlocks<1>(const Blocks&, const Blocks&, int64_t, const Sums&, bool);
template void multiplyMatrix<float>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);
template void multiplyMatrix<Bf16>(const Matrix&, int64_t, int64_t, const Bf16*, int64_t, Bf16*, float*);

}  // namespace longshore::cpu::LONGSHORE_PATH
