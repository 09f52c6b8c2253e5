// SELECT (spec 2.5): index scores, and the best K entries that a row may see.
// SelectArgs gives the order of fp32 operations.
#include <algorithm>
#include <vector>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

namespace {

// Adds neighbours until one term is left; a term without a neighbour passes on.
float pairwise(std::vector<float>& terms) {
  for (size_t count = terms.size(); count > 1; count = (count + 1) / 2) {
    for (size_t i = 0; i < count / 2; i++) terms[i] = terms[2 * i] + terms[2 * i + 1];
    if (count % 2 == 1) terms[count / 2] = terms[count - 1];
  }
  return terms[0];
}

int32_t doubled(uint8_t nibble) { return static_cast<int32_t>(2.0f * e2m1Decode(nibble)); }

// 2^(byte - 128), so that two of them undo the doubling of both factors.
float halfScale(uint8_t byte) { return byte == 255 ? NAN : powerOfTwo(static_cast<int>(byte) - 128); }

float dotFp4(const uint8_t* q, const uint8_t* key, int64_t dim) {
  std::vector<float> blocks;
  for (int64_t b = 0; b < dim / kKeyBlock; b++) {
    int32_t sum = 0;
    for (int64_t i = b * kKeyBlock; i < (b + 1) * kKeyBlock; i++) sum += doubled(nibbleAt(q, i)) * doubled(nibbleAt(key, i));
    blocks.push_back(static_cast<float>(sum) * halfScale(q[dim / 2 + b]) * halfScale(key[dim / 2 + b]));
  }
  return pairwise(blocks);
}

float dotPlain(const uint8_t* q, const uint8_t* key, int64_t dim, ls_dtype dtype) {
  double sum = 0;
  for (int64_t i = 0; i < dim; i++) sum += load({q, dtype}, i) * load({key, dtype}, i);
  return static_cast<float>(sum);
}

float score(const SelectArgs& a, int64_t row, int64_t s) {
  const int64_t bytes = keyBytes(a.layout, a.dim);
  const uint8_t* key = a.keys.row(s);
  float sum = 0;
  for (int64_t head = 0; head < a.h; head++) {
    const uint8_t* q = a.iq + (row * a.h + head) * bytes;
    const float dot = a.layout == LS_KEY_FP4 ? dotFp4(q, key, a.dim) : dotPlain(q, key, a.dim, a.layout == LS_KEY_F32 ? LS_F32 : LS_BF16);
    const float weight = a.iw[row * a.h + head] * a.scale;
    sum = std::fma(dot > 0 ? dot : 0.0f, weight, sum);
  }
  return std::isnan(sum) ? -INFINITY : sum;
}

void selectRow(const SelectArgs& a, int64_t row) {
  const int64_t visible = a.visible(row), chosen = std::min(a.K, visible);
  std::vector<float> scores;
  std::vector<int32_t> order;
  for (int64_t s = 0; s < visible; s++) {
    scores.push_back(score(a, row, s));
    order.push_back(static_cast<int32_t>(s));
  }
  if (a.scores != nullptr)
    for (int64_t s = 0; s < a.S; s++) a.scores[row * a.S + s] = s < visible ? scores[static_cast<size_t>(s)] : -INFINITY;

  std::stable_sort(order.begin(), order.end(), [&](int32_t x, int32_t y) { return scores[static_cast<size_t>(x)] > scores[static_cast<size_t>(y)]; });
  std::sort(order.begin(), order.begin() + chosen);
  for (int64_t i = 0; i < a.K; i++) a.sel[row * a.K + i] = i < chosen ? order[static_cast<size_t>(i)] : -1;
}

}  // namespace

void select(const SelectArgs& a, Pool& pool) {
  pool.parallelFor(a.T, 1, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t row = begin; row < end; row++) selectRow(a, row);
  });
}

}  // namespace longshore::cpu::reference
