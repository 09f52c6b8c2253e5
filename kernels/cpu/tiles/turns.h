// Products of weights with few activations: one to four blocks. Sums stay in their tiles over all of K.
#pragma once

#include "decoding.h"
#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

template <int... i, class Body>
LONGSHORE_INLINE void eachOf(std::integer_sequence<int, i...>, Body&& body) {
  (body(std::integral_constant<int, i>()), ...);
}

// body(i) for i < count, as constants: a tile's number must be one.
template <int count, class Body>
LONGSHORE_INLINE void each(Body&& body) {
  eachOf(std::make_integer_sequence<int, count>(), body);
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

static constexpr int64_t kTurnSteps = 8;

// Where the block in turn lies, and the one that is decoded meanwhile.
class Turn {
 public:
  explicit Turn(Bf16* tiles) : now_(tiles), next_(tiles + kTurnSteps * kTileHalves), spare_(next_ + kTurnSteps * kTileHalves) {}
  const Bf16* now() const { return now_; }
  Bf16* next() const { return next_; }

  // A tile that is stored when none was for 600 ns takes a Granite Rapids 300: one is stored at each turn.
  void pass() {
    storeTile<7>(spare_);
    std::swap(now_, next_);
  }

 private:
  Bf16 *now_, *next_, *spare_;
};

// N blocks of weights times M of activations: sums stay in their tiles over all of K. The blocks take turns, some steps
// each, so that these steps of the activations stay in the L1 cache; the block in turn is multiplied while the next one
// is decoded into the same cache, at last the first one of `after`.
template <class Row, class E, int N, int M>
void multiplyTurns(WeightPanel<Row, N>& panel, WeightPanel<Row, N>& after, int64_t K, const Bf16* x, Turn& turn, float* acc) {
  static_assert(kTurnSteps % Decoding<Row>::kSteps == 0);
  constexpr int terms = kTerms<E>;
  const int64_t steps = stepsOf(K), xStride = packedBlock<E>(K);
  each<N * M>([](auto i) LONGSHORE_INLINED { zeroTile<decltype(i)::value>(); });
  for (int64_t step = 0; step < steps; step += kTurnSteps) {
    const int64_t end = minOf(steps, step + kTurnSteps);
    each<N>([&](auto n) LONGSHORE_INLINED {
      constexpr int block = decltype(n)::value;
      const bool hasRows = panel.blocks[block].hasRows();
      auto& next = (block + 1 < N || end < steps ? panel : after).blocks[(block + 1) % N];
      for (int64_t s = step; s < end; s++) {
        if (s % Decoding<Row>::kSteps == 0) next.take(kTile, turn.next());
        if (hasRows) addStep<block * M, M, terms>(turn.now() + (s - step) * kTileHalves, x + s * terms * kTileHalves, xStride);
      }
      next.takeRest(turn.next());
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
  static_assert((2 * kTurnSteps + 1) * kTileHalves <= kPanelHalves);
  constexpr int64_t rows = N * kTile, on = kTurnSteps * kStep;
  const auto panelOf = [&](int64_t n) {
    return WeightPanel<Row, N>(matrix, first + n, maxOf(0, count - n), 0, stepsOf(matrix.K), kTurnSteps, {on, on + (rows - 1) * matrix.K, rows * matrix.K});
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

}  // namespace longshore::cpu::LONGSHORE_PATH
