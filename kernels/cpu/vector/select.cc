// SELECT (spec 2.5). A task is a block of queries, or of the keys of one where there are few queries; blocks of keys are unpacked once for
// all queries of a task, and each query keeps its K best so far.
#include <new>

#include "path.h"

#include "best.h"
#include "keys.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

template <class Scorer>
struct Space {
  Scorer scorer;
  float* weights;    // [kKeyQueries, h]
  int32_t* ranks;    // [kKeyQueries, capacity]
  int32_t* indices;

  Space(Carver& c, const SelectArgs& a)
      : scorer(c, a),
        weights(c.take<float>(kKeyQueries * a.h)),
        ranks(c.take<int32_t>(kKeyQueries * Best::capacity(a.K))),
        indices(c.take<int32_t>(kKeyQueries * Best::capacity(a.K))) {}
};

// Offers the keys [first, first + count) of a block to one query.
template <int G, class Scorer>
LONGSHORE_INLINE void offerGroups(const SelectArgs& a, int64_t row, int64_t first, int64_t k, int64_t count, const Scorer& scorer, int64_t i, const float* weights, Best& best) {
  V scores[G];
  scorer.score(i, k / kLanes, weights, scores);
  LONGSHORE_UNROLL for (int g = 0; g < G; g++) {
    const V score = canonicalScore(scores[g]);
    const int64_t at = k + g * kLanes, lanes = minOf(kLanes, count - at);
    best.offer(score, static_cast<int32_t>(first + at), (1u << lanes) - 1u);
    if (a.scores != nullptr) storePart(a.scores + row * a.S + first + at, score, lanes);
  }
}

template <class Scorer>
void offerKeys(const SelectArgs& a, int64_t row, int64_t first, int64_t count, const Scorer& scorer, int64_t i, const float* weights, Best& best) {
  int64_t k = 0;
  for (; k + (kGroups - 1) * kLanes < count; k += kGroups * kLanes) offerGroups<kGroups>(a, row, first, k, count, scorer, i, weights, best);
  for (; k < count; k += kLanes) offerGroups<1>(a, row, first, k, count, scorer, i, weights, best);
}

constexpr int64_t kKeysAhead = 64;  // keys are asked for so many before they are used: pages are too short for the processor to guess

// Sixteen keys from `first` on; the last one stands in for those that are not there.
template <class Scorer>
void loadGroup(const SelectArgs& a, int64_t first, int64_t end, int64_t group, Scorer& scorer) {
  const uint8_t* keys[kLanes];
  if (first + kKeysAhead + kLanes <= a.visible(a.T - 1)) {
    const uint8_t* later = a.keys.row(first + kKeysAhead);
    for (int64_t byte = 0; byte < kLanes * a.keys.rowBytes; byte += 64) __builtin_prefetch(addressAt(later, byte));
  }
  if (first + kLanes <= end && first % a.keys.rowsPerPage + kLanes <= a.keys.rowsPerPage) {
    keys[0] = a.keys.row(first);
    for (int64_t l = 1; l < kLanes; l++) keys[l] = keys[0] + l * a.keys.rowBytes;
  } else {
    for (int64_t l = 0; l < kLanes; l++) keys[l] = a.keys.row(minOf(first + l, end - 1));
  }
  scorer.loadKeys(group, keys);
}

void finishRow(const SelectArgs& a, int64_t row, Best& best) {
  int32_t* sel = a.sel + row * a.K;
  for (int64_t j = best.finish(sel); j < a.K; j++) sel[j] = -1;
  for (int64_t s = a.visible(row); a.scores != nullptr && s < a.S; s++) a.scores[row * a.S + s] = -__builtin_inff();
}

// Offers the keys [begin, end) to the rows [row0, row0 + count), count <= kKeyQueries, each as far as it sees them.
template <class Scorer>
void offerRange(const SelectArgs& a, int64_t row0, int64_t count, int64_t begin, int64_t end, Space<Scorer>& space, Best* best) {
  for (int64_t i = 0; i < count; i++) {
    space.scorer.loadQuery(i, row0 + i);
    for (int64_t head = 0; head < a.h; head++) space.weights[i * a.h + head] = a.iw[(row0 + i) * a.h + head] * a.scale;
  }
  end = minOf(end, a.visible(row0 + count - 1));
  for (int64_t first = begin; first < end; first += kKeys) {
    const int64_t keys = minOf(kKeys, end - first);
    for (int64_t k = 0; k < keys; k += kLanes) loadGroup(a, first + k, first + keys, k / kLanes, space.scorer);
    for (int64_t i = 0; i < count; i++) {
      const int64_t seen = minOf(keys, a.visible(row0 + i) - first);
      if (seen <= 0) continue;
      space.scorer.begin(i, seen);
      offerKeys(a, row0 + i, first, seen, space.scorer, i, space.weights + i * a.h, best[i]);
    }
  }
}

// Rows are shared out.
template <class Scorer>
void runRows(const SelectArgs& a, int64_t rows, Pool& pool) {
  pool.parallelFor(a.T, rows, [&](int64_t begin, int64_t end, uint32_t worker) {
    auto space = inScratch<Space<Scorer>>(pool, worker, a);
    for (int64_t row0 = begin; row0 < end; row0 += rows) {
      const int64_t count = minOf(rows, end - row0);
      Best best[kKeyQueries];
      for (int64_t i = 0; i < count; i++) best[i] = Best(a.K, space.ranks + i * Best::capacity(a.K), space.indices + i * Best::capacity(a.K));
      offerRange(a, row0, count, 0, INT64_MAX, space, best);
      for (int64_t i = 0; i < count; i++) finishRow(a, row0 + i, best[i]);
    }
  });
}

struct PartsSpace {
  int32_t* ranks;  // [T, parts, capacity]
  int32_t* indices;
  Best* best;  // [T, parts]

  PartsSpace(Carver& c, const SelectArgs& a, int64_t parts)
      : ranks(c.take<int32_t>(a.T * parts * Best::capacity(a.K))),
        indices(c.take<int32_t>(a.T * parts * Best::capacity(a.K))),
        best(c.take<Best>(a.T * parts)) {}
};

// Few rows: their keys are shared out, and the best of all parts are among the best of each.
template <class Scorer>
void runParts(const SelectArgs& a, int64_t parts, Pool& pool) {
  const auto all = inShared<PartsSpace>(pool, a, parts);
  const int64_t keys = blocksOf(blocksOf(a.visible(a.T - 1), parts), kKeys) * kKeys;
  pool.parallelFor(a.T * parts, 1, [&](int64_t begin, int64_t end, uint32_t worker) {
    auto space = inScratch<Space<Scorer>>(pool, worker, a);
    for (int64_t task = begin; task < end; task++) {
      Best* best = new (all.best + task) Best(a.K, all.ranks + task * Best::capacity(a.K), all.indices + task * Best::capacity(a.K));
      offerRange(a, task / parts, 1, task % parts * keys, (task % parts + 1) * keys, space, best);
    }
  });
  for (int64_t row = 0; row < a.T; row++) {
    Best& best = all.best[row * parts];
    for (int64_t part = 1; part < parts; part++) best.offer(all.best[row * parts + part]);
    finishRow(a, row, best);
  }
}

constexpr int64_t kPartKeys = 2048;  // worth waking a thread for

template <class Scorer>
void run(const SelectArgs& a, Pool& pool) {
  if (a.T == 0) return;
  const int64_t parts = minOf(pool.threads() / a.T, a.visible(a.T - 1) / kPartKeys);
  if (parts > 1) runParts<Scorer>(a, parts, pool);
  else runRows<Scorer>(a, maxOf(1, minOf(kKeyQueries, blocksOf(a.T, pool.threads()))), pool);
}

}  // namespace

void select(const SelectArgs& a, Pool& pool) {
  if (a.layout != LS_KEY_FP4) run<PlainScorer>(a, pool);
  else if (a.dim == 4 * kKeyBlock) run<Fp4Scorer<4>>(a, pool);
  else run<Fp4Scorer<0>>(a, pool);
}

}  // namespace longshore::cpu::LONGSHORE_PATH
