// EXPERTS (spec 2.7) on tiles. Rows are grouped by expert into pieces of whole blocks; as many pieces as memory allows
// make a wave, so that a weight is read once for all its rows. A wave packs its rows, computes hidden values per
// (piece, block of w1 and w3 rows), then adds up channels of y, experts ascending - the order of a row's slots.
//
// An accumulator has weight rows down and activation rows across:
// pairs of hidden rows, once rounded, already lie as the packed operand of w2.
#include "path.h"

#include "../vector/math.h"
#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int64_t kPieceRows = 256;                  // accumulators of a task stay in the L2 cache
constexpr int64_t kWaveBytes = int64_t{48} << 20;    // packed rows and hidden values
constexpr int64_t kTaskColumns = 128;

// Rows of one expert: `pairs` are row * k + slot.
struct Piece {
  int64_t expert, count, block;  // the first block of the wave that it takes
  const int32_t* pairs;
};

template <class E>
struct Space {
  int32_t* pairs;  // sorted by expert
  int32_t* ends;   // ends[e]: one past the last pair of expert e
  Piece* pieces;   // of a wave
  Bf16* packed;    // [blocks, packedBlock(d)]
  Bf16* hidden;    // [blocks, packedBlock(I)]

  Space(Carver& c, const ExpertsArgs& a, int64_t blocks)
      : pairs(c.take<int32_t>(a.T * a.k)),
        ends(c.take<int32_t>(a.count)),
        pieces(c.take<Piece>(blocks)),
        packed(c.take<Bf16>(blocks * packedBlock<E>(a.d))),
        hidden(c.take<Bf16>(blocks * packedBlock<E>(a.I))) {}
};

struct TaskSpace {
  Bf16* tiles;
  float* acc;
  float* up;
  TaskSpace(Carver& c) : tiles(c.take<Bf16>(kPanelHalves)), acc(c.take<float>(kTaskColumns * kPieceRows)), up(c.take<float>(kTaskColumns * kPieceRows)) {}
};

int64_t columnsFor(int64_t N, int64_t tasks, uint32_t threads) {
  const int64_t wanted = blocksOf(4 * int64_t{threads}, tasks);
  return minOf(kTaskColumns, blocksOf(blocksOf(N, wanted), kPanelRows) * kPanelRows);
}

template <class E>
class Call {
 public:
  Call(const ExpertsArgs& a, const Space<E>& space, int64_t blocks) : a_(a), space_(space), blocks_(blocks) { sortByExpert(); }

  void run(Pool& pool) {
    std::memset(a_.y, 0, static_cast<size_t>(a_.T * a_.d) * sizeof(float));
    while (nextWave()) {
      pack(pool);
      const int64_t columns = columnsFor(a_.I, pieces_, pool.threads()), parts = blocksOf(a_.I, columns);
      forTasks(pieces_ * parts, pool, [&](int64_t task, const TaskSpace& space) { hide(space_.pieces[task / parts], task % parts * columns, columns, space); });
      const int64_t channels = columnsFor(a_.d, 1, pool.threads());
      forTasks(blocksOf(a_.d, channels), pool, [&](int64_t task, const TaskSpace& space) { collect(task * channels, channels, space); });
    }
  }

 private:
  int64_t expertOf(int64_t pair) const { return a_.idx ? a_.idx[pair] : 0; }

  void sortByExpert() {
    for (int64_t e = 0; e < a_.count; e++) space_.ends[e] = 0;
    for (int64_t p = 0; p < a_.T * a_.k; p++) space_.ends[expertOf(p)]++;
    int32_t start = 0;
    for (int64_t e = 0; e < a_.count; e++) {
      const int32_t count = space_.ends[e];
      space_.ends[e] = start;
      start += count;
    }
    for (int64_t p = 0; p < a_.T * a_.k; p++) space_.pairs[space_.ends[expertOf(p)]++] = static_cast<int32_t>(p);
  }

  // Takes the next pairs, in order, that fit.
  bool nextWave() {
    int64_t block = 0;
    pieces_ = 0;
    while (next_ < a_.T * a_.k && block < blocks_) {
      const int64_t expert = expertOf(space_.pairs[next_]);
      const int64_t count = minOf(minOf(kPieceRows, (blocks_ - block) * kTile), space_.ends[expert] - next_);
      space_.pieces[pieces_++] = {expert, count, block, space_.pairs + next_};
      block += blocksOf(count, kTile);
      next_ += count;
    }
    return pieces_ > 0;
  }

  template <class Body>
  static void forTasks(int64_t count, Pool& pool, Body&& body) {
    pool.parallelFor(count, 1, [&](int64_t begin, int64_t end, uint32_t worker) {
      const Tiles tiles;
      const auto space = inScratch<TaskSpace>(pool, worker);
      for (int64_t task = begin; task < end; task++) body(task, space);
    });
  }

  Bf16* packed(int64_t block) const { return space_.packed + block * packedBlock<E>(a_.d); }
  Bf16* hidden(int64_t block) const { return space_.hidden + block * packedBlock<E>(a_.I); }

  void pack(Pool& pool) {
    pool.parallelFor(pieces_, 1, [&](int64_t begin, int64_t end, uint32_t) {
      for (int64_t i = begin; i < end; i++) {
        const Piece& piece = space_.pieces[i];
        for (int64_t m = 0; m < piece.count; m += kTile) {
          const E* rows[kTile];
          for (int r = 0; r < kTile; r++) rows[r] = at<E>(a_.x.data, piece.pairs[minOf(m + r, piece.count - 1)] / a_.k * a_.d);
          packRows(rows, a_.d, packed(piece.block + m / kTile));
        }
      }
    });
  }

  // Hidden values [first, first + columns) of a piece.
  void hide(const Piece& piece, int64_t first, int64_t columns, const TaskSpace& space) {
    const Expert& expert = a_.experts[piece.expert];
    const int64_t count = minOf(columns, a_.I - first), blocks = blocksOf(piece.count, kTile);
    multiplyMatrix<E>({expert.w1, expert.s1, a_.d}, first, count, packed(piece.block), blocks, space.tiles, space.acc);
    multiplyMatrix<E>({expert.w3, expert.s3, a_.d}, first, count, packed(piece.block), blocks, space.tiles, space.up);
    for (int64_t block = 0; block < blocks; block++) {
      float weights[kTile];
      for (int64_t r = 0; r < kTile; r++) {
        const int32_t pair = piece.pairs[minOf(block * kTile + r, piece.count - 1)];
        weights[r] = a_.weights ? a_.weights[pair] : 1.0f;
      }
      activate(space, blocks, block, load(weights), first, count, hidden(piece.block + block));
    }
  }

  V activated(const float* gate, const float* up, V weight) const {
    const V a = min(set(a_.limit), load(gate));
    const V b = max(set(-a_.limit), min(set(a_.limit), load(up)));
    return mul(weight, mul(silu(a), b));
  }

  // Rows of sixteen activations; zeros after the last fill up the step.
  void activate(const TaskSpace& space, int64_t blocks, int64_t block, V weight, int64_t first, int64_t count, Bf16* hidden) const {
    const int64_t end = first + count == a_.I ? blocksOf(a_.I, kStep) * kStep - first : count;
    for (int64_t n = 0; n < end; n += 2) {
      const int64_t at = sumsOf(blocks, block, n / kTile) + n % kTile * kTile;
      const V even = n < count ? activated(space.acc + at, space.up + at, weight) : zero();
      const V odd = n + 1 < count ? activated(space.acc + at + kTile, space.up + at + kTile, weight) : zero();
      const int64_t k = first + n;
      packPair<E>(even, odd, hidden + k / kStep * kTerms<E> * kTileHalves + k % kStep * kTile);
    }
  }

  // y[.., first ..] of all rows
  void collect(int64_t first, int64_t columns, const TaskSpace& space) {
    const int64_t count = minOf(columns, a_.d - first);
    for (int64_t i = 0; i < pieces_; i++) {
      const Piece& piece = space_.pieces[i];
      const Expert& expert = a_.experts[piece.expert];
      multiplyMatrix<E>({expert.w2, expert.s2, a_.I}, first, count, hidden(piece.block), blocksOf(piece.count, kTile), space.tiles, space.acc);
      forOutputs(space.acc, piece.count, count, [&](int64_t m, int64_t n, V v) {
        float* y = a_.y + piece.pairs[m] / a_.k * a_.d + first + n;
        if (n + kLanes <= count) store(y, LONGSHORE_PATH::add(load(y), v));
        else storePart(y, LONGSHORE_PATH::add(loadPart(y, count - n), v), count - n);
      });
    }
  }

  const ExpertsArgs& a_;
  const Space<E>& space_;
  int64_t blocks_, pieces_ = 0, next_ = 0;
};

template <class E>
void run(const ExpertsArgs& a, Pool& pool) {
  const int64_t most = maxOf(1, kWaveBytes / 2 / (packedBlock<E>(a.d) + packedBlock<E>(a.I)));
  const int64_t blocks = minOf(most, blocksOf(a.T * a.k, kTile) + minOf(a.count, a.T * a.k));
  const auto space = inShared<Space<E>>(pool, a, blocks);
  Call<E>(a, space, blocks).run(pool);
}

}  // namespace

void experts(const ExpertsArgs& a, Pool& pool) {
  if (a.T == 0) return;
  withElement(a.x.dtype == LS_F32, [&](auto* e) { run<std::remove_pointer_t<decltype(e)>>(a, pool); });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
