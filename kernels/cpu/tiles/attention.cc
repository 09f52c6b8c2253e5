// ATTENTION (spec 2.3) by products of blocks, for bf16 queries and stored rows that are exact in bf16. Sixteen lanes
// are queries, or heads of one; entries lie in steps of 32, as rows for the scores and as pairs for the outputs.
//
// For one query and head: entries come in blocks of kEntries - compressed ones counted from 0, then window positions
// counted from position 0. A block is scores, the largest of them, p = exp(score - largest so far), their mass in
// order, and output += p x values in steps of 32; what came before is scaled by exp(old largest - new). Where a block
// begins depends on positions alone, and an entry that a query does not see has p = 0 exactly, so a query's bits depend
// on its own entries alone. A NaN spreads through p, but not through values that a query does not see.
#include "path.h"

#include "../vector/math.h"
#include "attention_space.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

class Run {
 public:
  Run(const AttentionArgs& a, const RunShape& s, const RunSpace& space, int64_t first, int64_t head)
      : a_(a), s_(s), space_(space), first_(first), count_(minOf(s.queries, a.T - first)), head_(head), heads_(minOf(s.heads, a.h - head)), stride_(RunShape::lanesOfQuery(a, heads_)) {}

  void run() {
    std::memset(space_.zeros, 0, static_cast<size_t>(s_.rowBytes));
    windowFirst_ = a_.windowFirst(first_) / kStep * kStep;
    const int64_t end = a_.start + first_ + count_;
    load(space_.window, windowFirst_, blocksOf(end - windowFirst_, kStep), a_.windowFirst(first_), end, [&](int64_t p) { return a_.windowRow(p); });
    for (int64_t i = 0; i < count_; i += s_.together) attend(first_ + i, minOf(s_.together, count_ - i));
  }

 private:
  int64_t lanes() const { return queries_ * stride_; }
  int64_t laneBlocks() const { return blocksOf(lanes(), kTile); }
  int64_t queryOf(int64_t lane) const { return query0_ + minOf(lane, lanes() - 1) / stride_; }
  int64_t headOf(int64_t lane) const { return head_ + minOf(minOf(lane, lanes() - 1) % stride_, heads_ - 1); }

  int64_t compressed(int64_t i) const {
    if (!a_.sel) return a_.visible(i);
    int64_t count = 0;
    while (count < a_.K && a_.sel[i * a_.K + count] >= 0) count++;
    return count;
  }

  // Attends queries [query0, query0 + queries). Compressed entries are each query's own, or the same for all, with
  // later queries seeing more of them.
  void attend(int64_t query0, int64_t queries) {
    query0_ = query0;
    queries_ = queries;
    begin();
    const int64_t last = query0 + queries - 1;
    if (a_.sel) {
      for (int64_t i = 0; i < queries; i++) addCompressed(query0 + i, {i * stride_, (i + 1) * stride_});
    } else {
      addCompressed(last, {0, lanes()});
    }
    const int64_t position = a_.start + last, lowest = a_.windowFirst(query0) / kStep * kStep;
    for (int64_t p = lowest; p <= position; p = (p / kEntries + 1) * kEntries) {
      const int64_t steps = blocksOf(minOf(position + 1, (p / kEntries + 1) * kEntries) - p, kStep);
      addBlock(space_.window, (p - windowFirst_) / kStep, steps, {0, lanes()}, [&](int64_t i) { return a_.start + i + 1 - p; },
               [&](int64_t i) { return a_.windowFirst(i) - p; });
    }
    finish();
  }

  // Adds the entries of `query`; the queries before it in the span see no others.
  void addCompressed(int64_t query, const Span& span) {
    const int64_t entries = compressed(query);
    for (int64_t e = 0; e < entries; e += kEntries) {
      const int64_t steps = blocksOf(minOf(kEntries, entries - e), kStep);
      load(space_.block, e, steps, e, entries, [&](int64_t entry) { return a_.pages.row(a_.sel ? a_.sel[query * a_.K + entry] : entry); });
      addBlock(space_.block, 0, steps, span, [&](int64_t i) { return minOf(kEntries, compressed(i) - e); }, [](int64_t) { return 0; });
    }
  }

  void begin() {
    for (int64_t b = 0; b < laneBlocks(); b++) {
      const Bf16* rows[kTile];
      for (int64_t l = 0; l < kTile; l++) {
        const int64_t lane = b * kTile + l;
        rows[l] = at<Bf16>(a_.q.data, (queryOf(lane) * a_.h + headOf(lane)) * s_.kv.width());
      }
      packRows(rows, s_.kv.width(), space_.q + b * s_.steps * kTileHalves);
      store(space_.largest + b * kTile, set(kLowest));
      store(space_.mass + b * kTile, zero());
    }
    std::memset(space_.out, 0, static_cast<size_t>(s_.channels * laneBlocks() * kTileFloats) * sizeof(float));
  }

  // Loads entries [begin, end) into the panel whose first entry is `base`, and zeros elsewhere in its `steps`.
  // Prefetches the entries after these.
  template <class RowOf>
  void load(const Panel& panel, int64_t base, int64_t steps, int64_t begin, int64_t end, RowOf&& rowOf) {
    Rows rows[2];
    const auto find = [&](int64_t step) {
      for (int64_t i = 0; i < kStep; i++) {
        const int64_t entry = base + step * kStep + i;
        rows[step % 2][i] = entry >= begin && entry < end ? rowOf(entry) : space_.zeros;
      }
    };
    find(0);
    for (int64_t step = 0; step < steps; step++) {
      find(step + 1);
      loadStep(panel, step, rows[step % 2], rows[(step + 1) % 2]);
    }
  }

  // Tile by tile, so that a tile stays in the L1 cache until it is whole. `next`: rows to prefetch meanwhile.
  void loadStep(const Panel& panel, int64_t step, const Rows& rows, const Rows& next) {
    const int64_t rowStride = s_.steps * kTileHalves, valueStride = panel.capacity * kTileHalves, apart = minOf(kRowBytes, blocksOf(s_.rowBytes, maxOf(1, s_.steps - 1)));
    Bf16* const entries = panel.rows + 2 * step * rowStride;
    Bf16* const values = panel.values + step * kTileHalves;
    NotFinite notFinite;
    forKvSteps(s_.kv, rows, space_.floats, [&](int64_t pair, int64_t s, P a, P b) LONGSHORE_INLINED {
      Bf16* row = entries + pair / 8 * rowStride + s * kTileHalves + pair % 8 * 2 * kStep;
      Bf16* value = values + 2 * s * valueStride + pair * kStep;
      __builtin_prefetch(addressAt(next[2 * pair], s * apart));
      __builtin_prefetch(addressAt(next[2 * pair + 1], s * apart));
      storeVector(row, a);
      storeVector(row + kStep, b);
      storeVector(value, zipEven(a, b));
      storeVector(value + valueStride, zipOdd(a, b));
      notFinite.add(a);
      notFinite.add(b);
    });
    if (!notFinite.found()) return;
    for (int64_t c = 0; c < s_.channels; c++) {
      for (int64_t i = 0; i < kTileHalves; i += kStep) storeVector(values + c * valueStride + i, finite(loadVector(values + c * valueStride + i)));
    }
  }

  // Adds the entries of `steps` steps of a panel for the lanes of a span.
  // Each query sees [begin(query), end(query)) of them.
  template <class End, class Begin>
  void addBlock(const Panel& panel, int64_t step, int64_t steps, const Span& span, End&& end, Begin&& begin) {
    const int64_t blocks = 2 * steps, rowStride = s_.steps * kTileHalves, first = span.block();
    multiplyBlocks<1>({panel.rows + 2 * step * rowStride, blocks, rowStride}, {space_.q + first * rowStride, span.blocks(), rowStride}, s_.steps,
                      {space_.scores + first * blocks * kTileFloats, blocks * kTileFloats}, true);
    for (int64_t b = first; b < first + span.blocks(); b++) {
      Seen seen = {};
      for (int64_t l = 0; l < kTile; l++) {
        const int64_t lane = b * kTile + l, query = queryOf(lane);
        if (!span.has(minOf(lane, lanes() - 1))) continue;  // lanes past the last one repeat it, so that it is no exception
        seen.begin[l] = static_cast<int32_t>(maxOf(0, begin(query)));
        seen.end[l] = static_cast<int32_t>(maxOf(0, minOf(steps * kStep, end(query))));
      }
      softmax(b, seen, steps);
    }
    const int64_t pStride = kEntries / kStep * kTileHalves, row = span.begin % kTile;
    multiplyBlocks<1>({space_.p + first * pStride + row * kStep, span.blocks(), pStride, span.end - span.begin},
                      {panel.values + step * kTileHalves, s_.channels, panel.capacity * kTileHalves}, steps,
                      {space_.out + first * kTileFloats + row * kTile, laneBlocks() * kTileFloats}, false);
  }

  // Turns the scores of one block of lanes into p, and scales what the lanes have so far to their new largest score.
  void softmax(int64_t b, const Seen& seen, int64_t steps) {
    float* scores = space_.scores + b * 2 * steps * kTileFloats;
    const int64_t first = seen.first(), last = seen.last(), allFirst = seen.allFirst(), allLast = seen.allLast();
    const V old = LONGSHORE_PATH::load(space_.largest + b * kTile);
    V largest = old;
    for (int64_t e = first; e < last; e++) {
      V score = mul(LONGSHORE_PATH::load(scores + e * kTile), set(a_.scale));
      if (e < allFirst || e >= allLast) score = seenPart(score, seen, e);
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

  // -inf in the lanes that do not see entry e.
  static V seenPart(V score, const Seen& seen, int64_t e) {
    const I ones = setInt(-1), next = setInt(static_cast<int32_t>(e) + 1);
    const auto isBefore = [&](const int32_t* bound) { return shiftRight<31>(addInt(next, xorInt(LONGSHORE_PATH::load(bound), ones))); };  // e - bound < 0
    const I hidden = xorInt(andInt(isBefore(seen.end), xorInt(isBefore(seen.begin), ones)), ones);
    return floats(xorInt(bits(score), andInt(hidden, xorInt(bits(score), bits(set(-__builtin_inff()))))));
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
      if (lane % stride_ >= heads_) continue;
      Bf16* o = at<Bf16>(a_.o.data, (queryOf(lane) * a_.h + headOf(lane)) * D);
      const float* out = space_.out + lane / kTile * kTileFloats + lane % kTile * kTile;
      const float sink = LONGSHORE_PATH::first(exp(sub(set(a_.sink[headOf(lane)]), set(space_.largest[lane]))));
      const V mass = set(space_.mass[lane] + sink);
      // A zero loses its sign, which alone would show whether steps without weight were added.
      const auto channels = [&](int64_t c) { return div(LONGSHORE_PATH::add(LONGSHORE_PATH::load(out + c * laneBlocks() * kTileFloats), zero()), mass); };
      for (int64_t k = 0; k < D; k += kStep) {
        V low = channels(k / kTile), high = channels(k / kTile + 1);
        orderGroups(low, high);
        storePart(o + k, low, minOf(kTile, D - k));
        if (k + kTile < D) storePart(o + k + kTile, high, minOf(kTile, D - k - kTile));
      }
    }
  }

  const AttentionArgs& a_;
  const RunShape& s_;
  const RunSpace& space_;
  int64_t first_, count_, head_, heads_, stride_, windowFirst_ = 0;
  int64_t query0_ = 0, queries_ = 0;
};

}  // namespace

void attention(const AttentionArgs& a, Pool& pool) {
  if (a.T == 0) return;
  const RunShape s(a, pool.threads());
  const int64_t shares = blocksOf(a.h, s.heads);
  pool.parallelFor(blocksOf(a.T, s.queries) * shares, 1, [&](int64_t begin, int64_t end, uint32_t worker) {
    const Tiles tiles;
    const auto space = inScratch<RunSpace>(pool, worker, s);
    for (int64_t task = begin; task < end; task++) Run(a, s, space, task / shares * s.queries, task % shares * s.heads).run();
  });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
