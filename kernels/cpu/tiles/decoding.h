// Turns weights into tiles of bf16, a cache line of one row at a time, so that it can go on beside products.
#pragma once

#include <utility>

#include "layout.h"

namespace longshore::cpu::LONGSHORE_PATH {

// What to prefetch while values from k on are decoded:
// those `on` further, or `over` further if the first lie past the row's end.
struct Ahead {
  int64_t on, over;
};

// A block of weight rows that is being decoded into tiles: `count` rows from `first`
// on, and zeros for the rest of the block; steps [step, end), each at its remainder
// by `ring`, a power of two, in `tiles`. Not inlined: many loops have it beside them.
template <class Row>
class Decoding {
 public:
  static constexpr int kSteps = kTogether<Row, Bf16>;  // decoded at once
  static_assert(kSteps * kStep == Row::kPerLine, "a cache line");

  __attribute__((noinline)) Decoding(const Matrix& matrix, int64_t first, int64_t count, int64_t step, int64_t end, Bf16* tiles, int64_t ring, const Ahead& ahead)
      : K_(matrix.K), count_(count), step_(count > 0 ? step : end), end_(end), tiles_(tiles), ring_(ring), ahead_(ahead) {
    if (count > 0 && count < kTile) std::memset(tiles, 0, static_cast<size_t>(ring * kTileHalves) * sizeof(Bf16));
    for (int64_t r = 0; r < count; r++) rows_[r] = Row(matrix, first + r);
  }

  // Decodes a cache line of each of the next `most` rows, or of those left in
  // these steps. All rows of a tile come before the next tile, so that a tile is
  // written while it is in cache. Returns the number of rows; 0: all is decoded.
  __attribute__((noinline)) int64_t take(int64_t most) {
    const int64_t K = K_, step = step_, first = row_, last = most < count_ - first ? first + most : count_, k = step * kStep;
    if (step >= end_) return 0;
    const int64_t there = k + (k + ahead_.on < K ? ahead_.on : ahead_.over);
    Bf16* tile = tiles_ + (step & (ring_ - 1)) * kTileHalves;
    for (int64_t r = first; r < last; r++) {
      const Row row = rows_[r];
      __builtin_prefetch(row.addressOf(there), 0, 2);
      P vectors[kSteps] = {};  // there is room after the last step
      vectorsAt(row, k, K, tile, vectors);
      LONGSHORE_UNROLL for (int i = 0; i < kSteps; i++) storeVector(tile + i * kTileHalves + r * kStep, vectors[i]);
    }
    row_ = last < count_ ? last : 0;
    if (row_ == 0) step_ += kSteps;
    return last - first;
  }

 private:
  Row rows_[kTile];
  int64_t K_, count_, row_ = 0, step_, end_;
  Bf16* tiles_;
  int64_t ring_;
  Ahead ahead_;
};

// N blocks of weights: rows [first, first + count), or none.
template <class Row, int N>
struct WeightPanel {
  Decoding<Row> blocks[N];

  WeightPanel(const Matrix& matrix, int64_t first, int64_t count, int64_t step, int64_t end, Bf16* tiles, int64_t ring, const Ahead& ahead)
      : WeightPanel(std::make_index_sequence<N>(), [&](int64_t block) {
          const int64_t n = block * kTile;
          return Decoding<Row>(matrix, first + n, minOf(kTile, count - n), step, end, tiles + n * ring * kStep, ring, ahead);
        }) {}

  void take(int64_t lines) {
    for (auto& block : blocks) {
      for (int64_t taken = 1; lines > 0 && taken > 0; lines -= taken) taken = block.take(lines);
    }
  }

 private:
  template <size_t... blocks, class Make>
  WeightPanel(std::index_sequence<blocks...>, const Make& make) : blocks{make(blocks)...} {}
};

}  // namespace longshore::cpu::LONGSHORE_PATH
