// SELECT (spec 2.5) of FP4 keys on tiles of bytes. Rows of an accumulator are heads,
// of several queries where each has few; its columns are sixteen keys. The sums of
// some queries and a block of keys stay in the L1 cache until each has been weighed.
#include "path.h"

#include "../vector/level.h"
#include "tile.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

class TileProducts {
 public:
  static constexpr int64_t kKeys = 64, kUnit = kRowBytes;
  static constexpr int kAtOnce = kKeys / kLanes;  // that many chains of additions hide the latency of one
  static constexpr int32_t kBias = 0;
  using Setup = Tiles;
  // Unpacking a block of keys costs as much as a few products of tiles: with few heads, many queries must share it.
  static int64_t queriesOf(const SelectArgs& a) { return maxOf(32, minOf(128, 1024 / a.h)); }

  TileProducts(Carver& c, const SelectArgs& a)
      : h_(a.h), together_(maxOf(1, kKeys / a.h)), rows_(blocksOf(together_ * a.h, kTile) * kTile), sums_(c.take<int32_t>(kAtOnce * rows_ * kTile)) {}

  void loadQueries(const LevelRows&, int64_t) {}
  int64_t together() const { return together_; }

  // Rows that do not exist or are not level, and keys likewise, are bytes like any others: nobody reads their sums.
  void begin(const LevelRows& rows, int64_t i, int64_t n, int64_t keys) {
    first_ = i * h_;
    for (int64_t row = 0; row < n * h_; row += kTile) multiply(rows, first_ + row, blocksOf(keys, kTile), sums_ + row * kTile);
  }

  template <int fixed, int H, int G>
  LONGSHORE_MEMBER void dots(const LevelRows&, int64_t row, int64_t group, I (&sums)[G][H]) const {
    const int32_t* from = sums_ + (group * rows_ + row - first_) * kTile;
    LONGSHORE_UNROLL for (int g = 0; g < G; g++) {
      LONGSHORE_UNROLL for (int h = 0; h < H; h++) sums[g][h] = load(from + (g * rows_ + h) * kTile);
    }
  }

 private:
  // Sixteen heads from `row` on times up to four groups of keys:
  // a tile of heads is loaded once, and four sums hide the latency of one.
  LONGSHORE_MEMBER void multiply(const LevelRows& rows, int64_t row, int64_t groups, int32_t* sums) const {
    const int8_t* heads = rows.heads(row);
    const uint8_t* columns = rows.columns(0);
    const int64_t rowBytes = rows.rowBytes(), stride = rowBytes * kLanes;
    zeroTile<0>();
    zeroTile<1>();
    zeroTile<2>();
    zeroTile<3>();
    for (int64_t k = 0; k < rowBytes; k += kRowBytes, columns += kRowBytes * kLanes) {
      loadTile<4>(heads + k, rowBytes);
      addGroup<0, 5>(columns);
      if (groups > 1) addGroup<1, 6>(columns + stride);
      if (groups > 2) addGroup<2, 7>(columns + 2 * stride);
      if (groups > 3) addGroup<3, 5>(columns + 3 * stride);
    }
    storeTile<0>(sums);
    if (groups > 1) storeTile<1>(sums + rows_ * kTile);
    if (groups > 2) storeTile<2>(sums + 2 * rows_ * kTile);
    if (groups > 3) storeTile<3>(sums + 3 * rows_ * kTile);
  }

  template <int c, int b>
  LONGSHORE_MEMBER static void addGroup(const uint8_t* columns) {
    loadTile<b>(columns);
    addBytes<c, 4, b>();
  }

  int64_t h_, together_;
  int64_t rows_;       // rows of the sums of one group
  int64_t first_ = 0;  // the row of queries at which sums begin
  int32_t* sums_;      // [keys / 16, rows, 16]
};

}  // namespace

void select(const SelectArgs& a, Pool& pool) { runSelection<LevelScorer<TileProducts, 0>>(a, pool); }

}  // namespace longshore::cpu::LONGSHORE_PATH
