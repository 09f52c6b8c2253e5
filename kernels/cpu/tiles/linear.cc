// LINEAR (spec 2.8, 4.4) on tiles. Activations are packed once;
// a task is a block of weight rows times a range of activation rows.
#include "path.h"

#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int64_t kPackedBytes = int64_t{16} << 20;     // activations packed at a time
// The accumulators of a task, and a panel's share of its bf16 activations, stay in the L2 cache.
constexpr int64_t kTaskColumns = 512, kTaskRows = 256;

struct PackedSpace {
  Bf16* packed;
  PackedSpace(Carver& c, int64_t halves) : packed(c.take<Bf16>(halves)) {}
};

struct TaskSpace {
  Bf16* tiles;
  float* acc;
  TaskSpace(Carver& c, int64_t floats) : tiles(c.take<Bf16>(kPanelHalves)), acc(c.take<float>(floats)) {}
};

// How one block of M activation rows is cut into tasks.
struct Tasks {
  int64_t columns, columnBlocks, rows, rowBlocks;

  Tasks(const LinearArgs& a, int64_t M, uint32_t threads) {
    const int64_t wanted = 2 * int64_t{threads};
    rows = minOf(kTaskRows, blocksOf(M, 2 * kTile) * 2 * kTile);
    columns = minOf(kTaskColumns, blocksOf(blocksOf(a.N * a.groups * blocksOf(M, rows), wanted), kPanelRows) * kPanelRows);
    columnBlocks = blocksOf(a.N, columns);
    rows = minOf(rows, blocksOf(blocksOf(M, blocksOf(wanted, a.groups * columnBlocks)), 2 * kTile) * 2 * kTile);
    rowBlocks = blocksOf(M, rows);
  }
  int64_t count(int64_t groups) const { return groups * columnBlocks * rowBlocks; }
};

// Rows [row0, row0 + M) of a call, packed per group.
template <class E>
class Block {
 public:
  Block(const LinearArgs& a, int64_t row0, int64_t M, Bf16* packed) : a_(a), row0_(row0), M_(M), packed_(packed) {}

  void run(Pool& pool) {
    pack(pool);
    const Tasks tasks(a_, M_, pool.threads());
    const int64_t cost = tasks.columns * tasks.rows * stepsOf(a_.K) / kTileFloats;
    pool.parallelFor(tasks.count(a_.groups), grainOf(cost), [&](int64_t begin, int64_t end, uint32_t worker) {
      const Tiles tiles;
      const auto space = inScratch<TaskSpace>(pool, worker, tasks.columns * blocksOf(minOf(tasks.rows, M_), kTile) * kTile);
      for (int64_t task = begin; task < end; task++) {
        const int64_t rows = task % tasks.rowBlocks * tasks.rows, columns = task / tasks.rowBlocks;
        const int64_t first = columns % tasks.columnBlocks * tasks.columns;
        multiply(columns / tasks.columnBlocks, first, minOf(tasks.columns, a_.N - first), rows, minOf(tasks.rows, M_ - rows), space);
      }
    });
  }

 private:
  Bf16* packed(int64_t group, int64_t block) const { return packed_ + (group * blocksOf(M_, kTile) + block) * packedBlock<E>(a_.K); }

  void pack(Pool& pool) {
    const int64_t blocks = blocksOf(M_, kTile);
    pool.parallelFor(a_.groups * blocks, grainOf(kTile * kTerms<E> * stepsOf(a_.K)), [&](int64_t begin, int64_t end, uint32_t) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t group = i / blocks, first = i % blocks * kTile;
        const E* rows[kTile];
        for (int r = 0; r < kTile; r++) rows[r] = at<E>(a_.x.data, ((row0_ + minOf(first + r, M_ - 1)) * a_.groups + group) * a_.K);
        packRows(rows, a_.K, packed(group, i % blocks));
      }
    });
  }

  // Outputs [first, first + count) of one group for M rows from `begin` on.
  void multiply(int64_t group, int64_t first, int64_t count, int64_t begin, int64_t M, const TaskSpace& space) {
    const Matrix matrix = {a_.w, a_.scale, a_.K};
    multiplyMatrix<E>(matrix, group * a_.N + first, count, packed(group, begin / kTile), blocksOf(M, kTile), space.tiles, space.acc);
    withElement(a_.y.dtype == LS_F32, [&](auto* e) {
      auto* y = at<std::remove_pointer_t<decltype(e)>>(a_.y.data, ((row0_ + begin) * a_.groups + group) * a_.N + first);
      forOutputs(space.acc, M, count, [&](int64_t m, int64_t n, V v) {
        auto* to = y + m * a_.groups * a_.N + n;
        if (n + kLanes <= count) store(to, v);
        else storePart(to, v, count - n);
      });
    });
  }

  const LinearArgs& a_;
  int64_t row0_, M_;
  Bf16* packed_;
};

template <class E>
void run(const LinearArgs& a, Pool& pool) {
  const int64_t rowHalves = a.groups * packedBlock<E>(a.K) / kTile;
  const int64_t most = maxOf(kTile, kPackedBytes / 2 / rowHalves / kTile * kTile), block = minOf(a.T, most);
  const auto space = inShared<PackedSpace>(pool, blocksOf(block, kTile) * kTile * rowHalves);
  for (int64_t row0 = 0; row0 < a.T; row0 += block) Block<E>(a, row0, minOf(block, a.T - row0), space.packed).run(pool);
}

}  // namespace

void linear(const LinearArgs& a, Pool& pool) {
  if (a.T == 0) return;
  withElement(a.x.dtype == LS_F32, [&](auto* e) { run<std::remove_pointer_t<decltype(e)>>(a, pool); });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
