// LINEAR (spec 2.8, 4.4). Work is split over outputs:
// a task is a block of weight rows, decoded once, times a range of activation rows.
#include "path.h"

#include "gemm.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int64_t kRowsBytes = int64_t{16} << 20;  // activations converted at a time

template <class E>
struct TaskSpace {
  E* panel;
  float* out;
  TaskSpace(Carver& c, int64_t panelSize, int64_t stride) : panel(c.take<E>(panelSize)), out(c.take<float>(kRowsM * stride)) {}
};

template <class E>
struct RowsSpace {
  E* rows;
  RowsSpace(Carver& c, int64_t size) : rows(c.take<E>(size)) {}
};

// How one block of activation rows is cut into tasks.
struct Tasks {
  int64_t columns, columnBlocks, rows, rowBlocks;

  Tasks(const LinearArgs& a, int64_t M, int64_t columnsMax, uint32_t threads) : columns(columnsMax) {
    columnBlocks = blocksOf(a.N, columns);
    const int64_t wanted = blocksOf(2 * int64_t{threads}, a.groups * columnBlocks);
    rows = threads == 1 ? M : maxOf(8 * kTileM, blocksOf(blocksOf(M, wanted), kTileM) * kTileM);
    rowBlocks = blocksOf(M, rows);
  }
  int64_t count(int64_t groups) const { return groups * columnBlocks * rowBlocks; }
};

// Outputs [row0 + begin, row0 + end) x [first, first + count) of one group; x counts rows of K from row0.
template <class E>
void multiplyBlock(const LinearArgs& a, const PaddedRows<E>& x, int64_t row0, int64_t begin, int64_t end, int64_t group, int64_t first, int64_t count,
                   Pool& pool, uint32_t worker) {
  const bool decode = Columns<E>::decodes(end - begin);
  const int64_t stride = count + kTileSlack;
  const auto space = inScratch<TaskSpace<E>>(pool, worker, decode ? Columns<E>::panelSize(count, a.K) : 0, stride);
  const Matrix matrix{a.w, a.scale, a.K};
  Columns<E> block(matrix, group * a.N + first, count, decode ? space.panel : nullptr);
  block.askFor(matrix, group * a.N + first + count, minOf(count, a.N - first - count));
  for (int64_t m = begin; m < end; m += kRowsM) {
    const int64_t M = minOf(kRowsM, end - m);
    const E* rows[kRowsM];
    for (int i = 0; i < kRowsM; i++) rows[i] = x.row((m + minOf(i, M - 1)) * a.groups + group);
    block.multiply(rows, M, space.out, stride);
    withElement(a.y.dtype == LS_F32, [&](auto* e) {
      using Y = std::remove_pointer_t<decltype(e)>;
      for (int64_t i = 0; i < M; i++) {
        Y* y = at<Y>(a.y.data, ((row0 + m + i) * a.groups + group) * a.N + first);
        forLanes(count, [&](int64_t n, auto read, auto write) LONGSHORE_INLINED { write(y + n, read(space.out + i * stride + n)); });
      }
    });
  }
}

template <class E>
void multiply(const LinearArgs& a, Pool& pool) {
  const int64_t rowBytes = a.groups * padded<E>(a.K) * static_cast<int64_t>(sizeof(E));
  const int64_t block = PaddedRows<E>::inPlace(a.x, a.K) ? maxOf(1, a.T) : maxOf(kTileM, kRowsBytes / rowBytes / kTileM * kTileM);
  const auto space = inShared<RowsSpace<E>>(pool, PaddedRows<E>::spaceFor(a.x, minOf(a.T, block) * a.groups, a.K));
  for (int64_t row0 = 0; row0 < a.T; row0 += block) {
    const int64_t M = minOf(block, a.T - row0);
    const PaddedRows<E> x(a.x, row0 * a.groups, M * a.groups, a.K, space.rows, pool);
    const Tasks tasks(a, M, columnsPerBlock<E>(a.K, 1), pool.threads());
    const int64_t grain = grainOf(tasks.columns * tasks.rows * blocksOf(a.K, kLanes));
    pool.parallelFor(tasks.count(a.groups), grain, [&](int64_t begin, int64_t end, uint32_t worker) {
      for (int64_t task = begin; task < end; task++) {
        const int64_t rows = task % tasks.rowBlocks * tasks.rows, columns = task / tasks.rowBlocks;
        const int64_t first = columns % tasks.columnBlocks * tasks.columns;
        multiplyBlock<E>(a, x, row0, rows, minOf(M, rows + tasks.rows), columns / tasks.columnBlocks, first, minOf(tasks.columns, a.N - first), pool, worker);
      }
    });
  }
}

}  // namespace

void linear(const LinearArgs& a, Pool& pool) {
  withOperands(a.x.dtype, a.w.dtype, [&](auto* e) { multiply<std::remove_pointer_t<decltype(e)>>(a, pool); });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
