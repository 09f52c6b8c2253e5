// ROUTE (spec 2.7): which experts a token goes to, and with what weight. The bias chooses but does not weigh.
#include "path.h"

#include "best.h"
#include "math.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

struct Space {
  float* scores;
  int32_t* ranks;
  int32_t* indices;
  Space(Carver& c, const RouteArgs& a) : scores(c.take<float>(padded(a.E))), ranks(c.take<int32_t>(Best::capacity(a.k))), indices(c.take<int32_t>(Best::capacity(a.k))) {}
};

void chooseBest(const RouteArgs& a, const Space& space, int32_t* idx) {
  Best best(a.k, space.ranks, space.indices);
  for (int64_t e = 0; e < a.E; e += kLanes) {
    const int64_t lanes = minOf(kLanes, a.E - e);
    V key = load(space.scores + e);
    if (a.bias) key = LONGSHORE_PATH::add(key, loadPart(at<float>(a.bias.data, e), lanes));
    best.offer(canonicalScore(key), static_cast<int32_t>(e), (1u << lanes) - 1u);
  }
  best.finish(idx);
}

void chooseListed(const RouteArgs& a, int64_t t, int32_t* idx) {
  for (int64_t i = 0; i < a.k; i++) {
    const auto expert = static_cast<int32_t>(a.table[a.ids[t] * a.k + i]);
    int64_t to = i;
    for (; to > 0 && idx[to - 1] > expert; to--) idx[to] = idx[to - 1];
    idx[to] = expert;
  }
}

void routeRow(const RouteArgs& a, int64_t t, const Space& space) {
  for (int64_t e = 0; e < a.E; e += kLanes) {
    store(space.scores + e, sqrt(softplus(loadPart(at<float>(a.logits.data, t * a.E + e), minOf(kLanes, a.E - e)))));
  }
  int32_t* idx = a.idx + t * a.k;
  if (a.table) chooseListed(a, t, idx);
  else chooseBest(a, space, idx);
  float sum = 0;
  for (int64_t i = 0; i < a.k; i++) sum += space.scores[idx[i]];
  for (int64_t i = 0; i < a.k; i++) a.weights[t * a.k + i] = space.scores[idx[i]] / sum * a.scaling;
}

}  // namespace

void route(const RouteArgs& a, Pool& pool) {
  pool.parallelFor(a.T, grainOf(4 * a.E), [&](int64_t begin, int64_t end, uint32_t worker) {
    const auto space = inScratch<Space>(pool, worker, a);
    for (int64_t t = begin; t < end; t++) routeRow(a, t, space);
  });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
