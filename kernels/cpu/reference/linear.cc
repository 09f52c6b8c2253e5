// LINEAR and EXPERTS (spec 2.7, 2.8, 4.4).
#include <algorithm>
#include <map>
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

// Row `row` of w, dequantised.
std::vector<double> weightRow(const In& w, const View<uint8_t>& scale, int64_t row, int64_t K) {
  std::vector<double> weights(static_cast<size_t>(K));
  for (int64_t k = 0; k < K; k++) weights[static_cast<size_t>(k)] = weight(w, scale, row, k, K);
  return weights;
}

double dot(const In& x, int64_t xStart, const std::vector<double>& weights) {
  double sum = 0;
  for (const double w : weights) sum += load(x, xStart++) * w;
  return sum;
}

// down[slot] = its weight * expert(its row of x), for the slots that chose the expert;
// hdn is rounded to the activation type before w2.
void expertOf(const ExpertsArgs& a, const Expert& e, const std::vector<int64_t>& slots, std::vector<float>& hidden, std::vector<double>& down, Pool& pool) {
  const double limit = static_cast<double>(a.limit);
  pool.parallelFor(a.I, 1, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++) {
      const std::vector<double> w1 = weightRow(e.w1, e.s1, i, a.d), w3 = weightRow(e.w3, e.s3, i, a.d);
      for (const int64_t slot : slots) {
        const double slotWeight = a.weights ? static_cast<double>(a.weights[slot]) : 1.0;
        const double gate = std::min(dot(a.x, slot / a.k * a.d, w1), limit);
        const double up = std::clamp(dot(a.x, slot / a.k * a.d, w3), -limit, limit);
        const double value = slotWeight * (gate * sigmoid(gate)) * up;
        hidden[static_cast<size_t>(slot * a.I + i)] = a.x.dtype == LS_F32 ? static_cast<float>(value) : bf16Decode(bf16Encode(roundToOdd(value)));
      }
    }
  });
  pool.parallelFor(a.d, 1, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t c = begin; c < end; c++) {
      const std::vector<double> w2 = weightRow(e.w2, e.s2, c, a.I);
      for (const int64_t slot : slots) down[static_cast<size_t>(slot * a.d + c)] = dot({hidden.data(), LS_F32}, slot * a.I, w2);
    }
  });
}

}  // namespace

double dot(const In& x, int64_t xStart, const In& w, int64_t wStart, int64_t K) {
  double sum = 0;
  for (int64_t k = 0; k < K; k++) sum += load(x, xStart + k) * load(w, wStart + k);
  return sum;
}

void linear(const LinearArgs& a, Pool& pool) {
  const int64_t columns = a.groups * a.N;
  pool.parallelFor(columns, grain(a.T * a.K), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t row = begin; row < end; row++) {
      const std::vector<double> weights = weightRow(a.w, a.scale, row, a.K);
      for (int64_t t = 0; t < a.T; t++) store(a.y, t * columns + row, dot(a.x, (t * a.groups + row / a.N) * a.K, weights));
    }
  });
}

void experts(const ExpertsArgs& a, Pool& pool) {
  std::map<int64_t, std::vector<int64_t>> slotsOf;  // by expert
  for (int64_t slot = 0; slot < a.T * a.k; slot++) slotsOf[a.idx ? a.idx[slot] : 0].push_back(slot);
  std::vector<float> hidden(static_cast<size_t>(a.T * a.k * a.I));
  std::vector<double> down(static_cast<size_t>(a.T * a.k * a.d));
  for (const auto& [expert, slots] : slotsOf) expertOf(a, a.experts[expert], slots, hidden, down, pool);
  for (int64_t t = 0; t < a.T; t++) {
    for (int64_t c = 0; c < a.d; c++) {
      double sum = 0;
      for (int64_t slot = t * a.k; slot < (t + 1) * a.k; slot++) sum += down[static_cast<size_t>(slot * a.d + c)];
      a.y[t * a.d + c] = static_cast<float>(sum);
    }
  }
}

}  // namespace longshore::cpu::reference
