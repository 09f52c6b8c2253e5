// Turns weights into tiles of bf16, a cache line of one row at a time, so that it can go on beside products.
#pragma once

#include <utility>

#include "layout.h"

namespace longshore::cpu::LONGSHORE_PATH {

// What to prefetch while values from k on are decoded: weights `on` further, or `over` further if the first lie past
// the row's end, and the scales of the weights `scales` further.
struct Ahead {
  int64_t on, over, scales;
};

// A block of weight rows that is being decoded into tiles, `burst` steps at a time,
// a multiple of kSteps: `count` rows from `first` on, and zeros for the rest of the
// block; steps [step, end). Nothing if there are no rows. Not inlined: many loops
// have it beside them.
template <class Row>
class Decoding {
 public:
  static constexpr int kSteps = kTogether<Row, Bf16>;  // of a cache line
  static_assert(kSteps * kStep == Row::kPerLine, "a cache line");

  __attribute__((noinline)) Decoding(const Matrix& matrix, int64_t first, int64_t count, int64_t step, int64_t end, int64_t burst, const Ahead& ahead)
      : K_(matrix.K), count_(count), step_(count > 0 ? step : end), at_(step_), end_(end), burst_(burst), ahead_(ahead) {
    for (int64_t r = 0; r < count; r++) rows_[r] = Row(matrix, first + r);
  }

  // Decodes the next `most` cache lines of the burst, or those left, into its tiles. A row's lines come before the next
  // row's: memory is faster so.
  __attribute__((noinline)) void take(int64_t most, Bf16* tiles) {
    const int64_t step = step_, last = minOf(step + burst_, end_), K = K_, on = ahead_.on, over = ahead_.over, scales = ahead_.scales;
    int64_t at = at_;
    while (at < last && !whole_) {
      const Row row = rows_[row_];
      Bf16* tile = tiles + (at - step) * kTileHalves + row_ * kStep;
      for (; at < last; at += kSteps, tile += kSteps * kTileHalves) {
        if (most-- == 0) return void(at_ = at);
        const int64_t k = at * kStep;
        __builtin_prefetch(row.addressOf(k + (k + on < K ? on : over)), 0, 3);
        if constexpr (kOwnScales<Row>) __builtin_prefetch(row.scaleAddress(k + scales), 0, 3);
        P vectors[kSteps] = {};  // there is room after the last step
        vectorsAt(row, k, K, tile, vectors);
        LONGSHORE_UNROLL for (int i = 0; i < kSteps; i++) storeVector(tile + i * kTileHalves, vectors[i]);
      }
      at = step;
      if (++row_ == count_) at = finish(step, last, tiles);
    }
    at_ = at;
  }

  bool hasRows() const { return count_ > 0; }

  // What is left of the burst; then the next one may be taken.
  void takeRest(Bf16* tiles) {
    take(INT64_MAX, tiles);
    whole_ = false;
  }

 private:
  int64_t finish(int64_t step, int64_t last, Bf16* tiles) {
    for (; row_ < kTile; row_++) {
      for (int64_t s = 0; s < last - step; s++) std::memset(tiles + s * kTileHalves + row_ * kStep, 0, kRowBytes);
    }
    row_ = 0;
    whole_ = true;
    return step_ = last;
  }

  Row rows_[kTile] = {};
  int64_t K_, count_, row_ = 0;      // the row in turn
  int64_t step_, at_, end_, burst_;  // the first of the burst, the next of the row
  bool whole_ = false;               // the burst is decoded
  Ahead ahead_;
};

// N blocks of weights: rows [first, first + count), or none.
template <class Row, int N>
struct WeightPanel {
  Decoding<Row> blocks[N];

  WeightPanel(const Matrix& matrix, int64_t first, int64_t count, int64_t step, int64_t end, int64_t burst, const Ahead& ahead)
      : WeightPanel(std::make_index_sequence<N>(), [&](int64_t block) {
          const int64_t n = block * kTile;
          return Decoding<Row>(matrix, first + n, minOf(kTile, count - n), step, end, burst, ahead);
        }) {}

 private:
  template <size_t... blocks, class Make>
  WeightPanel(std::index_sequence<blocks...>, const Make& make) : blocks{make(blocks)...} {}
};

}  // namespace longshore::cpu::LONGSHORE_PATH
