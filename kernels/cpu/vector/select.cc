// SELECT (spec 2.5). A task is a block of queries; blocks of keys are unpacked once for all of them, and each query keeps its K best so far.
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

// Offers the keys [first, first + count) to one query.
template <class Scorer>
void offerKeys(const SelectArgs& a, int64_t row, int64_t first, int64_t count, const Scorer& scorer, int64_t i, const float* weights, Best& best) {
  for (int64_t k = 0; k < count; k += kLanes) {
    const V scores = canonicalScore(scorer.score(i, k / kLanes, weights));
    const int64_t lanes = minOf(kLanes, count - k);
    best.offer(scores, static_cast<int32_t>(first + k), (1u << lanes) - 1u);
    if (a.scores != nullptr) storePart(a.scores + row * a.S + first + k, scores, lanes);
  }
}

void finishRow(const SelectArgs& a, int64_t row, Best& best) {
  int32_t* sel = a.sel + row * a.K;
  for (int64_t j = best.finish(sel); j < a.K; j++) sel[j] = -1;
  for (int64_t s = a.visible(row); a.scores != nullptr && s < a.S; s++) a.scores[row * a.S + s] = -__builtin_inff();
}

// Rows [row0, row0 + count), count <= kKeyQueries.
template <class Scorer>
void selectRows(const SelectArgs& a, int64_t row0, int64_t count, Space<Scorer>& space) {
  Best best[kKeyQueries];
  for (int64_t i = 0; i < count; i++) {
    best[i] = Best(a.K, space.ranks + i * Best::capacity(a.K), space.indices + i * Best::capacity(a.K));
    space.scorer.loadQuery(i, row0 + i);
    for (int64_t head = 0; head < a.h; head++) space.weights[i * a.h + head] = a.iw[(row0 + i) * a.h + head] * a.scale;
  }
  const int64_t visible = a.visible(row0 + count - 1);
  for (int64_t first = 0; first < visible; first += kKeys) {
    const int64_t keys = minOf(kKeys, visible - first);
    for (int64_t k = 0; k < keys; k++) space.scorer.loadKey(k, a.keys.row(first + k));
    for (int64_t i = 0; i < count; i++) {
      const int64_t seen = minOf(keys, a.visible(row0 + i) - first);
      if (seen <= 0) continue;
      space.scorer.begin(i, seen);
      offerKeys(a, row0 + i, first, seen, space.scorer, i, space.weights + i * a.h, best[i]);
    }
  }
  for (int64_t i = 0; i < count; i++) finishRow(a, row0 + i, best[i]);
}

template <class Scorer>
void run(const SelectArgs& a, Pool& pool) {
  const int64_t rows = maxOf(1, minOf(kKeyQueries, blocksOf(a.T, pool.threads())));
  pool.parallelFor(a.T, rows, [&](int64_t begin, int64_t end, uint32_t worker) {
    auto space = inScratch<Space<Scorer>>(pool, worker, a);
    for (int64_t row0 = begin; row0 < end; row0 += rows) selectRows(a, row0, minOf(rows, end - row0), space);
  });
}

}  // namespace

void select(const SelectArgs& a, Pool& pool) {
  if (a.layout == LS_KEY_FP4) run<Fp4Scorer>(a, pool);
  else run<PlainScorer>(a, pool);
}

}  // namespace longshore::cpu::LONGSHORE_PATH
