// SELECT (spec 2.5) with any scorer. A task is a block of queries, or, if there are few queries, of the keys of one.
// Blocks of keys are unpacked once for all queries of a task, and each query keeps its K best so far. A Scorer (keys.h,
// level.h) has
//
//   kKeys, kAtOnce, Setup         keys of a block; groups of sixteen that score() takes at once, if so many are left;
//                                 what a thread holds meanwhile
//   queriesOf(a)                  most queries of a task
//   loadQueries(row0, n, weights) the queries of a task; weights: iw * scale [n, h]
//   loadKeys(group, keys)         sixteen keys of a block
//   together(), begin(i, n, keys) once per block, before the scores of n <= together() queries from i on against the
//                                 first `keys` keys
//   score(i, group, weights, V (&scores)[G])
#pragma once

#include <new>

#include "../path.h"
#include "best.h"

namespace longshore::cpu::LONGSHORE_PATH {

struct Nothing {
  Nothing() {}
};

template <class Scorer>
struct Space {
  Scorer scorer;
  float* weights;  // [queries, h]
  int32_t* ranks;  // [queries, capacity]
  int32_t* indices;
  Best* best;  // [queries]

  Space(Carver& c, const SelectArgs& a)
      : scorer(c, a),
        weights(c.take<float>(Scorer::queriesOf(a) * a.h)),
        ranks(c.take<int32_t>(Scorer::queriesOf(a) * Best::capacity(a.K))),
        indices(c.take<int32_t>(Scorer::queriesOf(a) * Best::capacity(a.K))),
        best(c.take<Best>(Scorer::queriesOf(a))) {}
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
  constexpr int64_t whole = Scorer::kAtOnce * kLanes;
  for (; k + whole - kLanes < count; k += whole) offerGroups<Scorer::kAtOnce>(a, row, first, k, count, scorer, i, weights, best);
  for (; k < count; k += kLanes) offerGroups<1>(a, row, first, k, count, scorer, i, weights, best);
}

static constexpr int64_t kKeysAhead = 64;  // keys are prefetched this far ahead: pages are too short for the processor to guess

// Loads sixteen keys from `first` on; the last one stands in for those that do not exist.
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

static inline void finishRow(const SelectArgs& a, int64_t row, Best& best) {
  int32_t* sel = a.sel + row * a.K;
  for (int64_t j = best.finish(sel); j < a.K; j++) sel[j] = -1;
  for (int64_t s = a.visible(row); a.scores != nullptr && s < a.S; s++) a.scores[row * a.S + s] = -__builtin_inff();
}

// Offers the keys [begin, end) to the rows [row0, row0 + count), each as far as it sees them.
template <class Scorer>
void offerRange(const SelectArgs& a, int64_t row0, int64_t count, int64_t begin, int64_t end, Space<Scorer>& space, Best* best) {
  [[maybe_unused]] const typename Scorer::Setup setup;
  for (int64_t j = 0; j < count * a.h; j++) space.weights[j] = a.iw[row0 * a.h + j] * a.scale;
  space.scorer.loadQueries(row0, count, space.weights);
  end = minOf(end, a.visible(row0 + count - 1));
  for (int64_t first = begin; first < end; first += Scorer::kKeys) {
    const int64_t keys = minOf(Scorer::kKeys, end - first);
    for (int64_t k = 0; k < keys; k += kLanes) loadGroup(a, first + k, first + keys, k / kLanes, space.scorer);
    const auto seenBy = [&](int64_t i) { return minOf(keys, a.visible(row0 + i) - first); };
    for (int64_t i = 0; i < count; i++) {
      if (i % space.scorer.together() == 0) {
        const int64_t n = minOf(space.scorer.together(), count - i), most = seenBy(i + n - 1);
        if (most > 0) space.scorer.begin(i, n, most);
      }
      const int64_t seen = seenBy(i);
      if (seen > 0) offerKeys(a, row0 + i, first, seen, space.scorer, i, space.weights + i * a.h, best[i]);
    }
  }
}

// Threads split the rows.
template <class Scorer>
void runRows(const SelectArgs& a, int64_t rows, Pool& pool) {
  pool.parallelFor(a.T, rows, [&](int64_t begin, int64_t end, uint32_t worker) {
    auto space = inScratch<Space<Scorer>>(pool, worker, a);
    for (int64_t row0 = begin; row0 < end; row0 += rows) {
      const int64_t count = minOf(rows, end - row0);
      for (int64_t i = 0; i < count; i++) new (space.best + i) Best(a.K, space.ranks + i * Best::capacity(a.K), space.indices + i * Best::capacity(a.K));
      offerRange(a, row0, count, 0, INT64_MAX, space, space.best);
      for (int64_t i = 0; i < count; i++) finishRow(a, row0 + i, space.best[i]);
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

// Few rows: threads split their keys, and the best of all parts are among the best of each.
template <class Scorer>
void runParts(const SelectArgs& a, int64_t parts, Pool& pool) {
  const auto all = inShared<PartsSpace>(pool, a, parts);
  const int64_t keys = blocksOf(blocksOf(a.visible(a.T - 1), parts), Scorer::kKeys) * Scorer::kKeys;
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

static constexpr int64_t kPartKeys = 2048;  // worth waking a thread for

template <class Scorer>
void runSelection(const SelectArgs& a, Pool& pool) {
  if (a.T == 0) return;
  const int64_t parts = minOf(pool.threads() / a.T, a.visible(a.T - 1) / kPartKeys);
  if (parts > 1) runParts<Scorer>(a, parts, pool);
  else runRows<Scorer>(a, maxOf(1, minOf(Scorer::queriesOf(a), blocksOf(a.T, pool.threads()))), pool);
}

}  // namespace longshore::cpu::LONGSHORE_PATH
