// ATTENTION (spec 2.3). A task is a block of queries and a range of heads. Stored rows become floats once per tile and
// serve all heads of the task and, where all queries see the same entries (window, unselected pages), all its queries.
//
// For one query and head: scores of S(t) = compressed entries ascending, then window positions ascending, by dot
// products in the path's order; the largest score; p = exp(score - largest); the mass in sixteen lanes over positions
// in S(t); and every output channel a chain of fma over S(t) in order. Nothing outside S(t) is touched, so a query's
// bits depend on its own entries alone.
#include "path.h"

#include "gemm.h"
#include "math.h"
#include "stored.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int kChannels = kTileM;                   // vectors of channels that kTileM heads accumulate at once
constexpr int64_t kQueries = 16;                    // of a block, at most
constexpr int64_t kTileFloats = int64_t{1} << 16;   // compressed rows held as floats
// Queries, scores and outputs of a block of more than one query: they stay in the L2 cache.
constexpr int64_t kBlockFloats = int64_t{1} << 17;

struct Shape {
  KvShape kv;
  int64_t D, stride;         // floats of a row, padded; scores of one head, padded
  int64_t queries, heads;    // of a task
  int64_t headRows, tileRows;  // heads rounded up to whole tiles; compressed rows per tile

  Shape(const AttentionArgs& a, uint32_t threads) : kv{a.layout, a.nope, a.rope}, D(padded(a.nope + a.rope)) {
    const int64_t compressed = a.sel ? a.K : a.T > 0 ? a.visible(a.T - 1) : 0;
    stride = padded(compressed + a.W + kTileSlack);
    tileRows = maxOf(kTileN, kTileFloats / D);
    queries = maxOf(1, minOf(minOf(kQueries, blocksOf(a.T, threads)), kBlockFloats / ((stride + 2 * D) * a.h)));
    const int64_t shares = blocksOf(threads, blocksOf(a.T, queries));  // few queries: threads split the heads
    heads = minOf(a.h, blocksOf(blocksOf(a.h, shares), kTileM) * kTileM);
    headRows = blocksOf(heads, kTileM) * kTileM;
  }
};

struct Space {
  float* window;  // positions of the block, [queries + W, D]
  float* tile;    // [tileRows, D]
  float* q;       // [queries, headRows, D]
  float* scores;  // [queries, headRows, stride]
  float* mass;    // [queries, headRows]
  float* out;     // [queries, headRows, D]

  Space(Carver& c, const Shape& s, int64_t W)
      : window(c.take<float>((s.queries + W + kTileSlack) * s.D)),
        tile(c.take<float>((s.tileRows + kTileSlack) * s.D)),
        q(c.take<float>(s.queries * s.headRows * s.D)),
        scores(c.take<float>(s.queries * s.headRows * s.stride)),
        mass(c.take<float>(s.queries * s.headRows)),
        out(c.take<float>(s.queries * s.headRows * s.D)) {}
};

// out[r, c ..] += p[r, e] * rows[e, c ..] for kTileM heads and
// `vectors` vectors of channels, over `count` entries in order.
template <int vectors>
LONGSHORE_INLINE void accumulate(const float* p, int64_t stride, const float* rows, int64_t D, int64_t count, float* out) {
  V acc[kTileM][vectors];
  LONGSHORE_UNROLL for (int r = 0; r < kTileM; r++) {
    LONGSHORE_UNROLL for (int v = 0; v < vectors; v++) acc[r][v] = load(out + r * D + v * kLanes);
  }
  for (int64_t e = 0; e < count; e++) {
    V row[vectors];
    LONGSHORE_UNROLL for (int v = 0; v < vectors; v++) row[v] = load(rows + e * D + v * kLanes);
    LONGSHORE_UNROLL for (int r = 0; r < kTileM; r++) {
      const V weight = set(p[r * stride + e]);
      LONGSHORE_UNROLL for (int v = 0; v < vectors; v++) acc[r][v] = fma(weight, row[v], acc[r][v]);
    }
  }
  LONGSHORE_UNROLL for (int r = 0; r < kTileM; r++) {
    LONGSHORE_UNROLL for (int v = 0; v < vectors; v++) store(out + r * D + v * kLanes, acc[r][v]);
  }
}

// A block of queries [first, first + count) and heads [head, head + heads).
class Block {
 public:
  Block(const AttentionArgs& a, const Shape& s, const Space& space, int64_t first, int64_t head)
      : a_(a), s_(s), space_(space), first_(first), count_(minOf(s.queries, a.T - first)), head_(head), heads_(minOf(s.heads, a.h - head)) {}

  template <class E>
  void run() {
    loadQueries<E>();
    windowFirst_ = a_.windowFirst(first_);
    for (int64_t p = windowFirst_; p <= a_.start + first_ + count_ - 1; p++) unpackKvPadded(s_.kv, a_.windowRow(p), space_.window + (p - windowFirst_) * s_.D);
    if (a_.sel) {
      for (int64_t i = 0; i < count_; i++) attend<E>(i, i + 1);
    } else {
      attend<E>(0, count_);
    }
  }

 private:
  float* q(int64_t i) const { return space_.q + i * s_.headRows * s_.D; }
  float* scores(int64_t i) const { return space_.scores + i * s_.headRows * s_.stride; }
  float* out(int64_t i) const { return space_.out + i * s_.headRows * s_.D; }

  template <class E>
  void loadQueries() {
    for (int64_t i = 0; i < count_; i++) {
      for (int64_t r = 0; r < s_.headRows; r++) {
        const int64_t head = head_ + minOf(r, heads_ - 1);
        padRow(at<E>(a_.q.data, ((first_ + i) * a_.h + head) * s_.kv.width()), s_.kv.width(), q(i) + r * s_.D);
      }
    }
  }

  int64_t compressed(int64_t i) const {
    if (!a_.sel) return a_.visible(first_ + i);
    int64_t count = 0;
    while (count < a_.K && a_.sel[(first_ + i) * a_.K + count] >= 0) count++;
    return count;
  }

  // Attends queries [begin, end), which see the same compressed entries, later ones more of them.
  template <class E>
  void attend(int64_t begin, int64_t end) {
    const int64_t entries = compressed(end - 1);
    for (int64_t e = 0; e < entries; e += s_.tileRows) {
      const int64_t rows = loadTile(end - 1, e, entries);
      for (int64_t i = begin; i < end; i++) score(i, space_.tile, minOf(rows, compressed(i) - e), e);
    }
    for (int64_t i = begin; i < end; i++) {
      score(i, windowRows(i), windowCount(i), compressed(i));
      softmax<E>(i, compressed(i) + windowCount(i));
      std::memset(out(i), 0, static_cast<size_t>(s_.headRows * s_.D) * sizeof(float));
    }
    for (int64_t e = 0; e < entries; e += s_.tileRows) {
      const int64_t rows = entries > s_.tileRows ? loadTile(end - 1, e, entries) : entries;  // a single tile is still there
      for (int64_t i = begin; i < end; i++) weigh(i, space_.tile, minOf(rows, compressed(i) - e), e);
    }
    for (int64_t i = begin; i < end; i++) {
      weigh(i, windowRows(i), windowCount(i), compressed(i));
      finish<E>(i);
    }
  }

  const float* windowRows(int64_t i) const { return space_.window + (a_.windowFirst(first_ + i) - windowFirst_) * s_.D; }
  int64_t windowCount(int64_t i) const { return a_.start + first_ + i + 1 - a_.windowFirst(first_ + i); }

  int64_t loadTile(int64_t i, int64_t e, int64_t entries) {
    const int64_t rows = minOf(s_.tileRows, entries - e);
    for (int64_t r = 0; r < rows; r++) {
      const int64_t entry = a_.sel ? a_.sel[(first_ + i) * a_.K + e + r] : e + r;
      unpackKvPadded(s_.kv, a_.pages.row(entry), space_.tile + r * s_.D);
    }
    return rows;
  }

  // scores[head, to ..] of query i against `count` rows; what is written past them is overwritten by the next rows.
  void score(int64_t i, const float* rows, int64_t count, int64_t to) {
    for (int64_t r = 0; r < s_.headRows; r += kTileM) {
      const float* heads[kTileM];
      for (int m = 0; m < kTileM; m++) heads[m] = q(i) + (r + m) * s_.D;
      multiplyRows(heads, rows, count, s_.D, scores(i) + r * s_.stride + to, s_.stride);
    }
  }

  // Scores become exp(scale * score - largest), rounded like any activation;
  // mass is their sum before rounding, and the sink's.
  template <class E>
  void softmax(int64_t i, int64_t count) {
    const V scale = set(a_.scale);
    for (int64_t r = 0; r < heads_; r++) {
      float* s = scores(i) + r * s_.stride;
      for (int64_t e = count; e < padded(count); e++) s[e] = -__builtin_inff();
      V largest = set(-__builtin_inff());
      for (int64_t e = 0; e < count; e += kLanes) {
        V v = load(s + e);
        if (e + kLanes <= count) v = mul(v, scale);
        else v = scaledPart(v, scale, count - e);
        store(s + e, v);
        largest = max(largest, v);
      }
      const V top = set(maximum(largest));
      V mass = zero();
      for (int64_t e = 0; e < count; e += kLanes) {
        const V p = exp(sub(load(s + e), top));
        store(s + e, rounded<E>(p));
        mass = LONGSHORE_PATH::add(mass, p);
      }
      space_.mass[i * s_.headRows + r] = sum(mass) + first(exp(sub(set(a_.sink[head_ + r]), top)));
    }
  }

  // The lanes from n on stay -inf whatever the sign of the scale.
  static V scaledPart(V v, V scale, int64_t n) {
    float lanes[kLanes];
    store(lanes, mul(v, scale));
    for (int64_t l = n; l < kLanes; l++) lanes[l] = -__builtin_inff();
    return load(lanes);
  }

  void weigh(int64_t i, const float* rows, int64_t count, int64_t from) {
    if (count <= 0) return;
    for (int64_t r = 0; r < s_.headRows; r += kTileM) {
      const float* p = scores(i) + r * s_.stride + from;
      float* o = out(i) + r * s_.D;
      int64_t c = 0;
      for (; c + kChannels * kLanes <= s_.D; c += kChannels * kLanes) accumulate<kChannels>(p, s_.stride, rows + c, s_.D, count, o + c);
      for (; c < s_.D; c += kLanes) accumulate<1>(p, s_.stride, rows + c, s_.D, count, o + c);
    }
  }

  template <class E>
  void finish(int64_t i) {
    const int64_t D = s_.kv.width();
    for (int64_t r = 0; r < heads_; r++) {
      const float* o = out(i) + r * s_.D;
      E* y = at<E>(a_.o.data, ((first_ + i) * a_.h + head_ + r) * D);
      const V mass = set(space_.mass[i * s_.headRows + r]);
      forLanes(D, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED { write(y + c, div(read(o + c), mass)); });
    }
  }

  const AttentionArgs& a_;
  const Shape& s_;
  const Space& space_;
  int64_t first_, count_, head_, heads_, windowFirst_ = 0;
};

}  // namespace

void attention(const AttentionArgs& a, Pool& pool) {
  const Shape s(a, pool.threads());
  const int64_t shares = blocksOf(a.h, s.heads);
  withElement(a.q.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    pool.parallelFor(blocksOf(a.T, s.queries) * shares, 1, [&](int64_t begin, int64_t end, uint32_t worker) {
      const auto space = inScratch<Space>(pool, worker, s, a.W);
      for (int64_t task = begin; task < end; task++) Block(a, s, space, task / shares * s.queries, task % shares * s.heads).run<E>();
    });
  });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
