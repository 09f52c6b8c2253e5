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

template <int... i, class Body>
LONGSHORE_INLINE void eachOf(std::integer_sequence<int, i...>, Body&& body) {
  (body(std::integral_constant<int, i>()), ...);
}

// body(i) for i < count, as constants: a tile's number must be one.
template <int count, class Body>
LONGSHORE_INLINE void each(Body&& body) {
  eachOf(std::make_integer_sequence<int, count>(), body);
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

// Asks the L2 cache for the activations of the panel's next steps, lines of 64 bytes in the order in which they are used.
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

// Adds one step of a block of weights times M of activations, whose sums are in the tiles from c on.
template <int c, int M, int terms>
LONGSHORE_INLINE void addStep(const Bf16* w, const Bf16* x, int64_t xStride) {
  loadTile<7>(w);
  each<M * terms>([&](auto i) LONGSHORE_INLINED {
    constexpr int m = decltype(i)::value / terms, term = decltype(i)::value % terms;
    loadTile<6>(x + m * xStride + term * kTileHalves);
    addPairs<c + m, 7, 6>();
  });
}

constexpr int64_t kThinSteps = 8;

// Where the block in turn lies, and the one that is decoded meanwhile.
class Turn {
 public:
  explicit Turn(Bf16* tiles) : now_(tiles), next_(tiles + kThinSteps * kTileHalves), spare_(next_ + kThinSteps * kTileHalves) {}
  const Bf16* now() const { return now_; }
  Bf16* next() const { return next_; }
  Bf16* spare() const { return spare_; }
  void pass() { std::swap(now_, next_); }

 private:
  Bf16 *now_, *next_, *spare_;
};

// N blocks of weights times M of activations: sums stay in their tiles over all of K. The blocks take turns, some steps
// each, so that these steps of the activations stay in the L1 cache; the block in turn is multiplied while the next one
// is decoded into the same cache, at last the first one of `after`.
template <class Row, class E, int N, int M>
void multiplyTurns(WeightPanel<Row, N>& panel, WeightPanel<Row, N>& after, int64_t K, const Bf16* x, Turn& turn, float* acc) {
  constexpr int terms = kTerms<E>;
  const int64_t steps = stepsOf(K), xStride = packedBlock<E>(K);
  each<N * M>([](auto i) LONGSHORE_INLINED { zeroTile<decltype(i)::value>(); });
  for (int64_t step = 0; step < steps; step += kThinSteps) {
    const int64_t end = minOf(steps, step + kThinSteps);
    each<N>([&](auto n) LONGSHORE_INLINED {
      constexpr int block = decltype(n)::value;
      auto& next = (block + 1 < N || end < steps ? panel : after).blocks[(block + 1) % N];
      for (int64_t s = step; s < end; s++) {
        if (s % Decoding<Row>::kSteps == 0) next.take(kTile, turn.next());
        addStep<block * M, M, terms>(turn.now() + (s - step) * kTileHalves, x + s * terms * kTileHalves, xStride);
      }
      next.takeRest(turn.next());
      storeTile<7>(turn.spare());
      turn.pass();
    });
  }
  each<N * M>([&](auto i) LONGSHORE_INLINED {
    constexpr int n = decltype(i)::value / M, m = decltype(i)::value % M;
    storeTile<decltype(i)::value>(acc + sumsOf(M, m, n));
  });
}

// M blocks of activations, one to four.
template <class Row, class E, int M>
void multiplyThin(const Matrix& matrix, int64_t first, int64_t count, const Bf16* x, Bf16* tiles, float* acc) {
  constexpr int N = M == 4 ? 1 : 2;
  static_assert(2 * kThinSteps * kTileHalves <= kPanelHalves);
  constexpr int64_t rows = N * kTile, on = kThinSteps * kStep;
  const auto panelOf = [&](int64_t n) {
    return WeightPanel<Row, N>(matrix, first + n, maxOf(0, count - n), 0, stepsOf(matrix.K), kThinSteps, {on, on + (rows - 1) * matrix.K, rows * matrix.K});
  };
  Turn turn(tiles);
  auto panel = panelOf(0);
  panel.blocks[0].takeRest(turn.next());
  turn.pass();
  for (int64_t n = 0; n < count; n += rows) {
    auto after = panelOf(n + rows);
    multiplyTurns<Row, E, N, M>(panel, after, matrix.K, x, turn, acc + sumsOf(M, 0, n / kTile));
    panel = after;
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
