// LINEAR and EXPERTS (spec 2.7, 2.8, 4.4).
#include <algorithm>
#include <vector>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

namespace {

// Exact in double: at most 24 significant bits times a power of two.
double weight(const In& w, const View<uint8_t>& scale, int64_t row, int64_t k, int64_t K) {
  const double value = load(w, row * K + k);
  const int64_t blocks = (K + kWeightBlock - 1) / kWeightBlock;
  if (w.dtype == LS_F8_E4M3) return value * static_cast<double>(e8m0Decode(scale[row / kWeightBlock * blocks + k / kWeightBlock]));
  if (w.dtype == LS_F4_E2M1) return value * static_cast<double>(e8m0Decode(scale[row * (K / 32) + k / 32]));
  return value;
}

// y += weightOfSlot * expert(x row t), where hdn is rounded to the activation type before w2.
void addExpert(const ExpertsArgs& a, const Expert& e, int64_t t, double slotWeight, std::vector<double>& y) {
  const double limit = static_cast<double>(a.limit);
  std::vector<float> hidden(static_cast<size_t>(a.I));
  for (int64_t i = 0; i < a.I; i++) {
    const double gate = std::min(dot(a.x, t * a.d, e.w1, e.s1, i, a.d), limit);
    const double up = std::clamp(dot(a.x, t * a.d, e.w3, e.s3, i, a.d), -limit, limit);
    const double value = slotWeight * (gate * sigmoid(gate)) * up;
    hidden[static_cast<size_t>(i)] = a.x.dtype == LS_F32 ? static_cast<float>(value) : bf16Decode(bf16Encode(roundToOdd(value)));
  }
  for (int64_t c = 0; c < a.d; c++) y[static_cast<size_t>(c)] += dot({hidden.data(), LS_F32}, 0, e.w2, e.s2, c, a.I);
}

}  // namespace

double dot(const In& x, int64_t xStart, const In& w, const View<uint8_t>& scale, int64_t wRow, int64_t K) {
  double sum = 0;
  for (int64_t k = 0; k < K; k++) sum += load(x, xStart + k) * weight(w, scale, wRow, k, K);
  return sum;
}

void linear(const LinearArgs& a, Pool& pool) {
  const int64_t columns = a.groups * a.N;
  pool.parallelFor(a.T * columns, grain(a.K), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t o = begin; o < end; o++) {
      const int64_t t = o / columns, row = o % columns, group = row / a.N;
      store(a.y, o, dot(a.x, (t * a.groups + group) * a.K, a.w, a.scale, row, a.K));
    }
  });
}

void experts(const ExpertsArgs& a, Pool& pool) {
  pool.parallelFor(a.T, 1, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t t = begin; t < end; t++) {
      std::vector<double> y(static_cast<size_t>(a.d), 0.0);
      for (int64_t slot = 0; slot < a.k; slot++) {
        const int64_t expert = a.idx ? a.idx[t * a.k + slot] : 0;
        addExpert(a, a.experts[expert], t, a.weights ? static_cast<double>(a.weights[t * a.k + slot]) : 1.0, y);
      }
      for (int64_t c = 0; c < a.d; c++) a.y[t * a.d + c] = static_cast<float>(y[static_cast<size_t>(c)]);
    }
  });
}

}  // namespace longshore::cpu::reference
