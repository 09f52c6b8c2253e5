// Manifold-constrained hyper-connections (spec 2.1): HC_PRE, HC_POST, HC_HEAD.
#include <algorithm>
#include <vector>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

namespace {

// mix = (fn . f) * rsqrt(mean(f^2) + eps), f = the streams of row t, copy after copy.
std::vector<double> mix(const In& streams, const View<float>& fn, int64_t t, int64_t width, int64_t outputs, double eps) {
  double squares = 0;
  for (int64_t c = 0; c < width; c++) squares += load(streams, t * width + c) * load(streams, t * width + c);
  const double factor = 1.0 / std::sqrt(squares / static_cast<double>(width) + eps);
  std::vector<double> out(static_cast<size_t>(outputs));
  for (int64_t o = 0; o < outputs; o++) out[static_cast<size_t>(o)] = dot(streams, t * width, {fn.data, LS_F32}, o * width, width) * factor;
  return out;
}

void softmaxRows(std::vector<double>& c, size_t n, double eps) {
  for (size_t j = 0; j < n; j++) {
    double* row = &c[j * n];
    const double largest = *std::max_element(row, row + n);
    double sum = 0;
    for (size_t k = 0; k < n; k++) sum += row[k] = std::exp(row[k] - largest);
    for (size_t k = 0; k < n; k++) row[k] = row[k] / sum + eps;
  }
}

void normalise(std::vector<double>& c, size_t n, size_t start, size_t stride, double eps) {
  double sum = eps;
  for (size_t i = 0; i < n; i++) sum += c[start + i * stride];
  for (size_t i = 0; i < n; i++) c[start + i * stride] /= sum;
}

void sinkhorn(std::vector<double>& c, size_t n, int32_t iterations, double eps) {
  softmaxRows(c, n, eps);
  for (size_t k = 0; k < n; k++) normalise(c, n, k, n, eps);
  for (int32_t i = 1; i < iterations; i++) {
    for (size_t j = 0; j < n; j++) normalise(c, n, j * n, 1, eps);
    for (size_t k = 0; k < n; k++) normalise(c, n, k, n, eps);
  }
}

// x[c] = sum_j w_j * streams[t, j, c]
void collapse(const In& streams, const std::vector<double>& w, int64_t t, int64_t n, int64_t d, const Out& x) {
  for (int64_t c = 0; c < d; c++) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += w[static_cast<size_t>(j)] * load(streams, (t * n + j) * d + c);
    store(x, t * d + c, sum);
  }
}

void preRow(const HcPreArgs& a, int64_t t) {
  const int64_t n = a.n;
  const double hcEps = static_cast<double>(a.hcEps);
  std::vector<double> m = mix(a.streams, a.fn, t, n * a.d, (2 + n) * n, static_cast<double>(a.rmsEps));
  const auto affine = [&](int64_t i, int64_t part) {
    return m[static_cast<size_t>(i)] * static_cast<double>(a.scale[part]) + static_cast<double>(a.base[i]);
  };

  std::vector<double> pre, comb;
  for (int64_t j = 0; j < n; j++) pre.push_back(sigmoid(affine(j, 0)) + hcEps);
  for (int64_t j = 0; j < n; j++) a.post[t * n + j] = static_cast<float>(2.0 * sigmoid(affine(n + j, 1)));
  for (int64_t i = 0; i < n * n; i++) comb.push_back(affine(2 * n + i, 2));
  sinkhorn(comb, static_cast<size_t>(n), a.sinkhornIters, hcEps);
  for (int64_t i = 0; i < n * n; i++) a.comb[t * n * n + i] = static_cast<float>(comb[static_cast<size_t>(i)]);
  collapse(a.streams, pre, t, n, a.d, a.x);
}

}  // namespace

void hcPre(const HcPreArgs& a, Pool& pool) {
  pool.parallelFor(a.T, 1, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t t = begin; t < end; t++) preRow(a, t);
  });
}

// All copies of a channel are read before any is written: `out` may be `streams`.
void hcPost(const HcPostArgs& a, Pool&) {
  std::vector<double> old(static_cast<size_t>(a.n));
  for (int64_t t = 0; t < a.T; t++)
    for (int64_t c = 0; c < a.d; c++) {
      for (int64_t j = 0; j < a.n; j++) old[static_cast<size_t>(j)] = load(a.streams, (t * a.n + j) * a.d + c);
      for (int64_t k = 0; k < a.n; k++) {
        double sum = static_cast<double>(a.post[t * a.n + k]) * load(a.y, t * a.d + c);
        for (int64_t j = 0; j < a.n; j++) sum += static_cast<double>(a.comb[(t * a.n + j) * a.n + k]) * old[static_cast<size_t>(j)];
        store(a.out, (t * a.n + k) * a.d + c, sum);
      }
    }
}

void hcHead(const HcHeadArgs& a, Pool&) {
  for (int64_t t = 0; t < a.T; t++) {
    std::vector<double> w = mix(a.streams, a.fn, t, a.n * a.d, a.n, static_cast<double>(a.rmsEps));
    for (int64_t j = 0; j < a.n; j++) {
      double& wj = w[static_cast<size_t>(j)];
      wj = sigmoid(wj * static_cast<double>(a.scale[0]) + static_cast<double>(a.base[j])) + static_cast<double>(a.hcEps);
    }
    collapse(a.streams, w, t, a.n, a.d, a.h);
  }
}

}  // namespace longshore::cpu::reference
