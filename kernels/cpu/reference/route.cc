// ROUTE (spec 2.7): which experts a token goes to, and with what weight.
#include <algorithm>
#include <numeric>
#include <vector>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

namespace {

double sqrtSoftplus(double v) { return std::sqrt(std::max(v, 0.0) + std::log1p(std::exp(-std::fabs(v)))); }

// The k largest of score + bias; the bias chooses but does not weigh. Compared as fp32, a NaN as -inf.
std::vector<int64_t> best(const RouteArgs& a, const std::vector<float>& scores) {
  std::vector<float> keys(scores);
  for (size_t e = 0; e < keys.size(); e++) {
    if (a.bias) keys[e] += a.bias[static_cast<int64_t>(e)];
    if (std::isnan(keys[e])) keys[e] = -INFINITY;
  }
  std::vector<int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return keys[static_cast<size_t>(x)] > keys[static_cast<size_t>(y)]; });
  order.resize(static_cast<size_t>(a.k));
  return order;
}

void routeRow(const RouteArgs& a, int64_t t) {
  std::vector<float> scores;
  for (int64_t e = 0; e < a.E; e++) scores.push_back(static_cast<float>(sqrtSoftplus(static_cast<double>(a.logits[t * a.E + e]))));

  std::vector<int64_t> chosen;
  if (!a.table) chosen = best(a, scores);
  else
    for (int64_t i = 0; i < a.k; i++) chosen.push_back(a.table[a.ids[t] * a.k + i]);
  std::sort(chosen.begin(), chosen.end());

  double sum = 0;
  for (const int64_t e : chosen) sum += static_cast<double>(scores[static_cast<size_t>(e)]);
  for (int64_t i = 0; i < a.k; i++) {
    const int64_t e = chosen[static_cast<size_t>(i)];
    a.idx[t * a.k + i] = static_cast<int32_t>(e);
    a.weights[t * a.k + i] = static_cast<float>(static_cast<double>(scores[static_cast<size_t>(e)]) / sum * static_cast<double>(a.scaling));
  }
}

}  // namespace

void route(const RouteArgs& a, Pool&) {
  for (int64_t t = 0; t < a.T; t++) routeRow(a, t);
}

}  // namespace longshore::cpu::reference
