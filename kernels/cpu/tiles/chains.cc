// multiplyBlocks where there are no tiles. A row of an accumulator is sixteen lanes, each of which is one chain of
// multiplyAdd over the pairs of k in order (../vector/pairs.h).
#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int64_t kChunkSteps = 4;  // steps of kMost blocks of `packed` that stay in the L1 cache while all rows of `panel` pass
constexpr int kMost = 4;

// R rows of a block of `panel` times M blocks of `packed`.
template <int R, int M>
LONGSHORE_INLINE void addChains(const Bf16* rows, const Bf16* packed, int64_t stride, int64_t steps, float* acc, int64_t accStride, bool fresh) {
  V sums[R][M];
  LONGSHORE_UNROLL for (int r = 0; r < R; r++) {
    LONGSHORE_UNROLL for (int m = 0; m < M; m++) sums[r][m] = fresh ? zero() : load(acc + m * accStride + r * kTile);
  }
  for (int64_t s = 0; s < steps; s++) {
    for (int64_t pair = 0; pair < kTile; pair++) {
      P columns[M];
      LONGSHORE_UNROLL for (int m = 0; m < M; m++) columns[m] = loadVector(packed + m * stride + s * kTileHalves + pair * kStep);
      LONGSHORE_UNROLL for (int r = 0; r < R; r++) {
        const P x = repeatPair(rows + s * kTileHalves + r * kStep + 2 * pair);
        LONGSHORE_UNROLL for (int m = 0; m < M; m++) sums[r][m] = multiplyAdd(x, columns[m], sums[r][m]);
      }
    }
  }
  LONGSHORE_UNROLL for (int r = 0; r < R; r++) {
    LONGSHORE_UNROLL for (int m = 0; m < M; m++) store(acc + m * accStride + r * kTile, sums[r][m]);
  }
}

// All of `panel` times M blocks of `packed`: about sixteen chains at a time hide the latency of one.
template <int M>
void multiplyColumns(const Blocks& panel, const Bf16* packed, int64_t stride, int64_t steps, const Sums& acc, bool fresh) {
  constexpr int most = M == 3 ? 4 : 16 / M, least = 4;
  for (int64_t row = 0; row < minOf(panel.count * kTile, panel.rows);) {
    const int64_t n = row / kTile, r = row % kTile;
    const Bf16* rows = panel.data + n * panel.stride + r * kStep;
    float* sums = acc.data + n * kTileFloats + r * kTile;
    if (r + most <= kTile && row + most <= panel.rows) {
      addChains<most, M>(rows, packed, stride, steps, sums, acc.stride, fresh);
      row += most;
    } else {
      addChains<least, M>(rows, packed, stride, steps, sums, acc.stride, fresh);
      row += least;
    }
  }
}

}  // namespace

template <>
void multiplyBlocks<1>(const Blocks& panel, const Blocks& packed, int64_t steps, const Sums& acc, bool fresh) {
  for (int64_t step = 0; step < steps; step += kChunkSteps) {
    const int64_t some = minOf(kChunkSteps, steps - step);
    const Blocks rows = {panel.data + step * kTileHalves, panel.count, panel.stride, panel.rows};
    for (int64_t m = 0; m < packed.count; m += kMost) {
      const auto multiply = [&](auto columns) {
        columns(rows, packed.data + m * packed.stride + step * kTileHalves, packed.stride, some, Sums{acc.data + m * acc.stride, acc.stride}, fresh && step == 0);
      };
      switch (packed.count - m) {
        case 1: multiply(multiplyColumns<1>); break;
        case 2: multiply(multiplyColumns<2>); break;
        case 3: multiply(multiplyColumns<3>); break;
        default: multiply(multiplyColumns<kMost>);
      }
    }
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
