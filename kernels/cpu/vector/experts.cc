// EXPERTS (spec 2.7). Rows are grouped by expert, so that an expert's weights are decoded once for all its rows. Two
// passes over outputs: hidden values of every (expert, block of w1 and w3 rows), then every block of y channels, which
// adds the experts in ascending order - the order of a row's slots.
#include "path.h"

#include "gemm.h"
#include "math.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

// Bytes of the rows that meet the experts together. A chunk of 2,048 tokens of V4-Flash takes 50 MB: cut in eight, each
// expert had six rows at a time, and its weights were decoded eight times.
constexpr int64_t kRowsBytes = int64_t{64} << 20;

// The (row, slot) pairs of a block of rows, sorted by expert.
template <class E>
struct Space {
  E* rows;
  E* hidden;       // [pairs, padded I], rounded to the activation type
  int32_t* pairs;  // row * k + slot
  int32_t* ends;   // ends[e]: one past the last pair of expert e
  int32_t* used;   // experts with pairs, ascending

  Space(Carver& c, const ExpertsArgs& a, int64_t block)
      : rows(c.take<E>(PaddedRows<E>::spaceFor(a.x, block, a.d))),
        hidden(c.take<E>(block * a.k * padded<E>(a.I))),
        pairs(c.take<int32_t>(block * a.k)),
        ends(c.take<int32_t>(a.count)),
        used(c.take<int32_t>(a.count)) {}
};

template <class E>
struct TaskSpace {
  E* gatePanel;
  E* upPanel;
  float* gate;
  float* up;
  TaskSpace(Carver& c, int64_t panelSize, int64_t stride)
      : gatePanel(c.take<E>(panelSize)), upPanel(c.take<E>(panelSize)), gate(c.take<float>(kRowsM * stride)), up(c.take<float>(kRowsM * stride)) {}
};

struct Group {
  const int32_t* pairs;
  int64_t count;
};

// One block of rows [row0, row0 + M).
template <class E>
class Block {
 public:
  Block(const ExpertsArgs& a, int64_t row0, int64_t M, const Space<E>& space, Pool& pool)
      : a_(a), space_(space), row0_(row0), M_(M), x_(a.x, row0, M, a.d, space.rows, pool) {
    sortByExpert();
  }

  void run(Pool& pool) {
    const int64_t columns = columnsFor(a_.I, a_.d, pool.threads()), blocks = blocksOf(a_.I, columns);
    pool.parallelFor(used_ * blocks, 1, [&](int64_t begin, int64_t end, uint32_t worker) {
      for (int64_t task = begin; task < end; task++) hide(space_.used[task / blocks], task % blocks * columns, columns, pool, worker);
    });
    const int64_t channels = columnsFor(a_.d, a_.I, pool.threads());
    pool.parallelFor(blocksOf(a_.d, channels), 1, [&](int64_t begin, int64_t end, uint32_t worker) {
      for (int64_t task = begin; task < end; task++) collect(task * channels, channels, pool, worker);
    });
  }

 private:
  int64_t expertOf(int64_t pair) const { return a_.idx ? a_.idx[row0_ * a_.k + pair] : 0; }

  void sortByExpert() {
    for (int64_t e = 0; e < a_.count; e++) space_.ends[e] = 0;
    for (int64_t p = 0; p < M_ * a_.k; p++) space_.ends[expertOf(p)]++;
    int32_t start = 0;
    for (int64_t e = 0; e < a_.count; e++) {
      const int32_t count = space_.ends[e];
      most_ = maxOf(most_, count);
      if (count > 0) space_.used[used_++] = static_cast<int32_t>(e);
      space_.ends[e] = start;
      start += count;
    }
    for (int64_t p = 0; p < M_ * a_.k; p++) space_.pairs[space_.ends[expertOf(p)]++] = static_cast<int32_t>(p);
  }

  Group group(int64_t e) const {
    const int64_t begin = e > 0 ? space_.ends[e - 1] : 0;
    return {space_.pairs + begin, space_.ends[e] - begin};
  }

  // Weight rows of a block. Those multiplied straight from their bytes, for few rows x, need no room in a cache, and
  // come faster the more of them are consecutive.
  int64_t columnsFor(int64_t N, int64_t K, uint32_t threads) const {
    const int64_t most = columnsPerBlock<E>(K, 2) * (most_ <= kTileM ? 4 : 1);
    return minOf(most, maxOf(kLanes, blocksOf(blocksOf(N, 2 * int64_t{threads}), kLanes) * kLanes));
  }

  // hidden[pair, first ..] of one expert
  void hide(int64_t e, int64_t first, int64_t columns, Pool& pool, uint32_t worker) {
    const Expert& expert = a_.experts[e];
    const Group g = group(e);
    const int64_t count = minOf(columns, a_.I - first), stride = padded(count + kTileSlack);
    const bool decode = Columns<E>::decodes(g.count);
    const auto space = inScratch<TaskSpace<E>>(pool, worker, decode ? Columns<E>::panelSize(count, a_.d) : 0, stride);
    const Matrix m1{expert.w1, expert.s1, a_.d}, m3{expert.w3, expert.s3, a_.d};
    Columns<E> w1(m1, first, count, decode ? space.gatePanel : nullptr);
    Columns<E> w3(m3, first, count, decode ? space.upPanel : nullptr);
    const int64_t next = minOf(count, a_.I - first - count);
    if (decode) {
      w1.askFor(m1, first + count, next);
      w3.askFor(m3, first + count, next);
    } else {
      w1.askFor(m3, first, count);
      w3.askFor(m1, first + count, next);
    }
    for (int64_t m = 0; m < g.count; m += kRowsM) {
      const int64_t M = minOf(kRowsM, g.count - m);
      const E* rows[kRowsM];
      for (int i = 0; i < kRowsM; i++) rows[i] = x_.row(g.pairs[m + minOf(i, M - 1)] / a_.k);
      w1.multiply(rows, M, space.gate, stride);
      w3.multiply(rows, M, space.up, stride);
      for (int64_t i = 0; i < M; i++) activate(space.gate + i * stride, space.up + i * stride, count, g.pairs + m + i, first);
    }
  }

  void activate(const float* gate, const float* up, int64_t count, const int32_t* pair, int64_t first) {
    const float weight = a_.weights ? a_.weights[row0_ * a_.k + *pair] : 1.0f;
    E* hidden = space_.hidden + (pair - space_.pairs) * padded<E>(a_.I);
    for (int64_t n = 0; n < count; n += kLanes) {
      const V a = min(set(a_.limit), load(gate + n));
      const V b = max(set(-a_.limit), min(set(a_.limit), load(up + n)));
      const V value = mul(set(weight), mul(silu(a), b));
      storePart(hidden + first + n, a_.x.dtype == LS_F32 ? value : rounded<Bf16>(value), minOf(kLanes, count - n));
    }
    if (first + count == a_.I) std::memset(hidden + a_.I, 0, static_cast<size_t>(padded<E>(a_.I) - a_.I) * sizeof(E));
  }

  // y[.., first ..] of all rows
  void collect(int64_t first, int64_t columns, Pool& pool, uint32_t worker) {
    const int64_t count = minOf(columns, a_.d - first), stride = count + kTileSlack;
    const auto space = inScratch<TaskSpace<E>>(pool, worker, Columns<E>::decodes(most_) ? Columns<E>::panelSize(count, a_.I) : 0, stride);
    float* y = a_.y + row0_ * a_.d + first;
    for (int64_t t = 0; t < M_; t++) std::memset(y + t * a_.d, 0, static_cast<size_t>(count) * sizeof(float));
    const auto matrixOf = [&](int64_t u) { return Matrix{a_.experts[space_.used[u]].w2, a_.experts[space_.used[u]].s2, a_.I}; };
    for (int64_t u = 0; u < used_; u++) {
      const Group g = group(space_.used[u]);
      Columns<E> w2(matrixOf(u), first, count, Columns<E>::decodes(g.count) ? space.gatePanel : nullptr);
      if (u + 1 < used_) w2.askFor(matrixOf(u + 1), first, count);
      for (int64_t m = 0; m < g.count; m += kRowsM) {
        const int64_t M = minOf(kRowsM, g.count - m);
        const E* rows[kRowsM];
        for (int i = 0; i < kRowsM; i++) rows[i] = space_.hidden + (g.pairs - space_.pairs + m + minOf(i, M - 1)) * padded<E>(a_.I);
        w2.multiply(rows, M, space.gate, stride);
        for (int64_t i = 0; i < M; i++) addTo(y + g.pairs[m + i] / a_.k * a_.d, space.gate + i * stride, count);
      }
    }
  }

  static void addTo(float* y, const float* x, int64_t count) {
    forLanes(count, [&](int64_t n, auto read, auto write) LONGSHORE_INLINED { write(y + n, LONGSHORE_PATH::add(read(y + n), read(x + n))); });
  }

  const ExpertsArgs& a_;
  Space<E> space_;
  int64_t row0_, M_, used_ = 0;
  int64_t most_ = 0;  // pairs of one expert: more than rows where a row names it twice
  PaddedRows<E> x_;
};

template <class E>
void run(const ExpertsArgs& a, Pool& pool) {
  const int64_t rowBytes = (a.k * padded<E>(a.I) + PaddedRows<E>::spaceFor(a.x, 1, a.d)) * static_cast<int64_t>(sizeof(E));
  const int64_t most = maxOf(kRowsM, kRowsBytes / rowBytes);
  const int64_t block = minOf(a.T, most);
  const auto space = inShared<Space<E>>(pool, a, block);
  for (int64_t row0 = 0; row0 < a.T; row0 += block) Block<E>(a, row0, minOf(block, a.T - row0), space, pool).run(pool);
}

}  // namespace

void experts(const ExpertsArgs& a, Pool& pool) {
  if (a.T == 0) return;
  const Expert& someone = a.experts[a.idx ? a.idx[0] : 0];
  withOperands(a.x.dtype, someone.w1.dtype, [&](auto* e) { run<std::remove_pointer_t<decltype(e)>>(a, pool); });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
