// ATTENTION (spec 2.3) on tiles, for bf16 queries and stored rows that are exact in bf16. Sixteen lanes are queries, or heads of one; entries
// lie in steps of 32, as rows for the scores and as pairs for the outputs.
//
// For one query and head: entries come in blocks of kEntries - compressed ones counted from 0, then window positions counted from position 0 -
// and a block is scores, its largest, p = exp(score - largest so far), their mass in order, and output += p x values in steps of 32; what
// came before is scaled by exp(old largest - new). Where a block begins depends on positions alone, and an entry that a query does not see
// has p = 0 exactly, so a query's bits depend on its own entries alone.
#include "path.h"

#include "../vector/math.h"
#include "../vector/stored.h"
#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int64_t kEntries = 256;
constexpr int64_t kLaneMax = 128;       // of a run: scores and outputs stay in the second-level cache
constexpr int64_t kSelectQueries = 16;  // that share window rows where each selects its own entries
constexpr float kLowest = -0x1.fffffep127f;

struct Shape {
  KvShape kv;
  int64_t steps, channels;  // of k in a row; blocks of 16 channels
  int64_t queries, heads;   // of a task
  int64_t lanes;            // of a run, whole blocks
  int64_t windowSteps;      // of entries

  Shape(const AttentionArgs& a, uint32_t threads) : kv{a.layout, a.nope, a.rope}, steps(stepsOf(kv.width())), channels(blocksOf(kv.width(), kTile)) {
    queries = minOf(a.sel ? kSelectQueries : maxOf(1, kLaneMax / a.h), blocksOf(a.T, threads));
    const int64_t shares = blocksOf(threads, blocksOf(a.T, queries));  // few queries: heads are shared out
    heads = minOf(minOf(a.h, kLaneMax), blocksOf(blocksOf(a.h, shares), kTile) * kTile);
    lanes = blocksOf(a.sel ? heads : queries * heads, kTile) * kTile;
    windowSteps = blocksOf(queries + a.W + kStep, kStep);
  }
};

// Stored rows as both operands: `rows` [blocks of 16 entries][steps] and `values` [blocks of 16 channels][steps of entries].
struct Panel {
  Bf16* rows;
  Bf16* values;
  int64_t capacity;  // steps of entries

  Panel(Carver& c, const Shape& s, int64_t entrySteps)
      : rows(c.take<Bf16>(2 * entrySteps * s.steps * kTileHalves)), values(c.take<Bf16>(2 * s.steps * entrySteps * kTileHalves)), capacity(entrySteps) {}
};

struct Space {
  Panel block, window;
  float* row;      // two rows of floats
  Bf16* q;         // [lane blocks][steps]
  float* scores;   // [lane blocks][kEntries / 16] accumulators, entries down
  Bf16* p;         // [lane blocks][kEntries / 32] tiles
  float* largest;  // [lanes]
  float* mass;     // [lanes]
  float* out;      // [channels][lane blocks] accumulators, lanes down

  Space(Carver& c, const Shape& s)
      : block(c, s, kEntries / kStep),
        window(c, s, s.windowSteps),
        row(c.take<float>(2 * s.steps * kStep)),
        q(c.take<Bf16>(s.lanes * s.steps * kStep)),
        scores(c.take<float>(s.lanes * kEntries)),
        p(c.take<Bf16>(s.lanes * kEntries)),
        largest(c.take<float>(s.lanes)),
        mass(c.take<float>(s.lanes)),
        out(c.take<float>(s.lanes * 2 * s.steps * kTile)) {}
};

// Entries [begin, end) of a block, per lane.
struct Seen {
  int32_t begin[kTile], end[kTile];

  int64_t first() const { return extreme(begin, [](int64_t a, int64_t b) { return a < b; }); }
  int64_t last() const { return extreme(end, [](int64_t a, int64_t b) { return a > b; }); }
  bool byAll(int64_t e) const {
    for (int l = 0; l < kTile; l++) {
      if (e < begin[l] || e >= end[l]) return false;
    }
    return true;
  }

 private:
  template <class Better>
  static int64_t extreme(const int32_t (&of)[kTile], Better better) {
    int64_t best = of[0];
    for (const int32_t x : of) best = better(x, best) ? x : best;
    return best;
  }
};

class Run {
 public:
  Run(const AttentionArgs& a, const Shape& s, const Space& space, int64_t first, int64_t head)
      : a_(a), s_(s), space_(space), first_(first), count_(minOf(s.queries, a.T - first)), head_(head), heads_(minOf(s.heads, a.h - head)) {}

  void run() {
    windowFirst_ = a_.windowFirst(first_) / kStep * kStep;
    const int64_t end = a_.start + first_ + count_;
    load(space_.window, windowFirst_, blocksOf(end - windowFirst_, kStep), a_.windowFirst(first_), end, [&](int64_t p) { return a_.windowRow(p); });
    if (a_.sel) {
      for (int64_t i = 0; i < count_; i++) attend(first_ + i, 1);
    } else {
      attend(first_, count_);
    }
  }

 private:
  int64_t lanes() const { return queries_ * heads_; }
  int64_t laneBlocks() const { return blocksOf(lanes(), kTile); }
  int64_t queryOf(int64_t lane) const { return query0_ + minOf(lane, lanes() - 1) / heads_; }
  int64_t headOf(int64_t lane) const { return head_ + minOf(lane, lanes() - 1) % heads_; }

  int64_t compressed(int64_t i) const {
    if (!a_.sel) return a_.visible(i);
    int64_t count = 0;
    while (count < a_.K && a_.sel[i * a_.K + count] >= 0) count++;
    return count;
  }

  // Queries [query0, query0 + queries), which see the same compressed entries, the later ones more of them.
  void attend(int64_t query0, int64_t queries) {
    query0_ = query0;
    queries_ = queries;
    begin();
    const int64_t last = query0 + queries - 1, entries = compressed(last);
    for (int64_t e = 0; e < entries; e += kEntries) {
      const int64_t end = minOf(entries, e + kEntries), steps = blocksOf(end - e, kStep);
      load(space_.block, e, steps, e, end, [&](int64_t entry) { return a_.pages.row(a_.sel ? a_.sel[last * a_.K + entry] : entry); });
      addBlock(space_.block, 0, steps, [&](int64_t i) { return minOf(kEntries, compressed(i) - e); }, [](int64_t) { return 0; });
    }
    const int64_t position = a_.start + last, lowest = a_.windowFirst(query0) / kStep * kStep;
    for (int64_t p = lowest; p <= position; p = (p / kEntries + 1) * kEntries) {
      const int64_t steps = blocksOf(minOf(position + 1, (p / kEntries + 1) * kEntries) - p, kStep);
      addBlock(space_.window, (p - windowFirst_) / kStep, steps, [&](int64_t i) { return a_.start + i + 1 - p; },
               [&](int64_t i) { return a_.windowFirst(i) - p; });
    }
    finish();
  }

  void begin() {
    for (int64_t b = 0; b < laneBlocks(); b++) {
      const Bf16* rows[kTile];
      for (int64_t l = 0; l < kTile; l++) {
        const int64_t lane = b * kTile + l;
        rows[l] = at<Bf16>(a_.q.data, (queryOf(lane) * a_.h + headOf(lane)) * s_.kv.width());
      }
      packRows(rows, s_.kv.width(), space_.q + b * packedBlock<Bf16>(s_.kv.width()));
      store(space_.largest + b * kTile, set(kLowest));
      store(space_.mass + b * kTile, zero());
    }
    std::memset(space_.out, 0, static_cast<size_t>(s_.channels * laneBlocks() * kTileFloats) * sizeof(float));
  }

  // Entries [begin, end) into the panel whose first is `base`; zeros elsewhere in its `steps`.
  template <class RowOf>
  void load(const Panel& panel, int64_t base, int64_t steps, int64_t begin, int64_t end, RowOf&& rowOf) {
    for (int64_t e = 0; e < steps * kStep; e += 2) {
      for (int64_t i = 0; i < 2; i++) {
        float* row = space_.row + i * s_.steps * kStep;
        std::memset(row, 0, static_cast<size_t>(s_.steps * kStep) * sizeof(float));
        if (base + e + i >= begin && base + e + i < end) unpackKv(s_.kv, rowOf(base + e + i), row);
      }
      Bf16* rows = panel.rows + e / kTile * s_.steps * kTileHalves + e % kTile * kStep;
      Bf16* values = panel.values + e / kStep * kTileHalves + e % kStep / 2 * kStep;
      for (int64_t s = 0; s < s_.steps; s++) {
        const float* even = space_.row + s * kStep;
        const float* odd = even + s_.steps * kStep;
        const P a = pairsOf(LONGSHORE_PATH::load(even), LONGSHORE_PATH::load(even + kLanes)), b = pairsOf(LONGSHORE_PATH::load(odd), LONGSHORE_PATH::load(odd + kLanes));
        storeVector(rows + s * kTileHalves, a);
        storeVector(rows + s * kTileHalves + kStep, b);
        storeVector(values + 2 * s * panel.capacity * kTileHalves, zipLow(a, b));
        storeVector(values + (2 * s + 1) * panel.capacity * kTileHalves, zipHigh(a, b));
      }
    }
  }

  // The entries of `steps` steps of a panel; end(query) and begin(query): what each query sees of them.
  template <class End, class Begin>
  void addBlock(const Panel& panel, int64_t step, int64_t steps, End&& end, Begin&& begin) {
    const int64_t blocks = 2 * steps, rowStride = s_.steps * kTileHalves;
    multiplyBlocks<1>({panel.rows + 2 * step * rowStride, blocks, rowStride}, {space_.q, laneBlocks(), rowStride}, s_.steps,
                      {space_.scores, blocks * kTileFloats}, true);
    for (int64_t b = 0; b < laneBlocks(); b++) {
      Seen seen;
      for (int64_t l = 0; l < kTile; l++) {
        const int64_t query = queryOf(b * kTile + l);
        seen.begin[l] = static_cast<int32_t>(maxOf(0, begin(query)));
        seen.end[l] = static_cast<int32_t>(maxOf(0, minOf(steps * kStep, end(query))));
      }
      softmax(b, seen, steps);
    }
    multiplyBlocks<1>({space_.p, laneBlocks(), kEntries / kStep * kTileHalves},
                      {panel.values + step * kTileHalves, s_.channels, panel.capacity * kTileHalves}, steps, {space_.out, laneBlocks() * kTileFloats}, false);
  }

  // Scores of one block of lanes become p, and what the lanes have so far is scaled to their new largest score.
  void softmax(int64_t b, const Seen& seen, int64_t steps) {
    float* scores = space_.scores + b * 2 * steps * kTileFloats;
    const int64_t first = seen.first(), last = seen.last();
    const V old = LONGSHORE_PATH::load(space_.largest + b * kTile);
    V largest = old;
    for (int64_t e = first; e < last; e++) {
      V score = mul(LONGSHORE_PATH::load(scores + e * kTile), set(a_.scale));
      if (!seen.byAll(e)) score = seenPart(score, seen, e);
      store(scores + e * kTile, score);
      largest = max(score, largest);
    }
    V mass = zero();
    const auto weight = [&](int64_t e) {
      if (e < first || e >= last) return zero();
      const V p = exp(sub(LONGSHORE_PATH::load(scores + e * kTile), largest));
      mass = LONGSHORE_PATH::add(mass, p);
      return p;
    };
    for (int64_t s = 0; s < steps; s++) {
      V pairs[kTile];
      for (int64_t j = 0; j < kTile; j++) {
        const V even = weight(s * kStep + 2 * j), odd = weight(s * kStep + 2 * j + 1);
        pairs[j] = lanesOf(zip(even, odd));
      }
      transpose(pairs);
      Bf16* p = space_.p + (b * (kEntries / kStep) + s) * kTileHalves;
      for (int64_t l = 0; l < kTile; l++) std::memcpy(p + l * kStep, &pairs[l], sizeof pairs[l]);
    }
    const V factor = exp(sub(old, largest));
    store(space_.largest + b * kTile, largest);
    store(space_.mass + b * kTile, fma(LONGSHORE_PATH::load(space_.mass + b * kTile), factor, mass));
    scaleOutputs(b, factor);
  }

  static V seenPart(V score, const Seen& seen, int64_t e) {
    float lanes[kTile];
    store(lanes, score);
    for (int l = 0; l < kTile; l++) lanes[l] = e >= seen.begin[l] && e < seen.end[l] ? lanes[l] : -__builtin_inff();
    return LONGSHORE_PATH::load(lanes);
  }

  void scaleOutputs(int64_t b, V factor) {
    float factors[kTile];
    store(factors, factor);
    bool same = true;
    for (const float f : factors) same = same && f == 1.0f;
    if (same) return;
    for (int64_t c = 0; c < s_.channels; c++) {
      float* out = space_.out + (c * laneBlocks() + b) * kTileFloats;
      for (int l = 0; l < kTile; l++) store(out + l * kTile, mul(LONGSHORE_PATH::load(out + l * kTile), set(factors[l])));
    }
  }

  void finish() {
    const int64_t D = s_.kv.width();
    for (int64_t lane = 0; lane < lanes(); lane++) {
      Bf16* o = at<Bf16>(a_.o.data, (queryOf(lane) * a_.h + headOf(lane)) * D);
      const float* out = space_.out + lane / kTile * kTileFloats + lane % kTile * kTile;
      const float sink = LONGSHORE_PATH::first(exp(sub(set(a_.sink[headOf(lane)]), set(space_.largest[lane]))));
      const V mass = set(space_.mass[lane] + sink);
      for (int64_t c = 0; c < s_.channels; c++) {
        // A zero loses its sign: whether steps without weight were added shows nowhere else.
        const V v = div(LONGSHORE_PATH::add(LONGSHORE_PATH::load(out + c * laneBlocks() * kTileFloats), zero()), mass);
        storePart(o + c * kTile, v, minOf(kTile, D - c * kTile));
      }
    }
  }

  const AttentionArgs& a_;
  const Shape& s_;
  const Space& space_;
  int64_t first_, count_, head_, heads_, windowFirst_ = 0;
  int64_t query0_ = 0, queries_ = 0;
};

}  // namespace

void attention(const AttentionArgs& a, Pool& pool) {
  if (a.T == 0) return;
  const Shape s(a, pool.threads());
  const int64_t shares = blocksOf(a.h, s.heads);
  pool.parallelFor(blocksOf(a.T, s.queries) * shares, 1, [&](int64_t begin, int64_t end, uint32_t worker) {
    const Tiles tiles;
    const auto space = inScratch<Space>(pool, worker, s);
    for (int64_t task = begin; task < end; task++) Run(a, s, space, task / shares * s.queries, task % shares * s.heads).run();
  });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
