// Manifold-constrained hyper-connections (spec 2.1): HC_PRE, HC_POST, HC_HEAD.
#include "path.h"

#include "gemm.h"
#include "math.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int64_t kRows = 48;  // rows that share one decoded fn; a multiple of the lanes and of every kTileM
static_assert(kRows % kLanes == 0 && kRows % kTileM == 0);

// The rows [first, first + count) of a call, their projections, and sixteen rows of Sinkhorn matrices side by side.
struct Space {
  float* panel;
  float* rows;
  float* mix;   // [kRows, outputs + slack]
  float* lanes; // [outputs, 16]
  Space(Carver& c, int64_t width, int64_t outputs)
      : panel(c.take<float>(Columns<float>::panelSize(outputs, width))),
        rows(c.take<float>(kRows * padded(width))),
        mix(c.take<float>(kRows * (outputs + kTileSlack))),
        lanes(c.take<float>(outputs * kLanes)) {}
};

struct Site {
  In streams;
  View<float> fn;
  int64_t width, outputs;  // n * d, rows of fn
  float eps;
};

// mix[i, o] = (fn_o . f_i) * rsqrt(mean(f_i^2) + eps) for the rows [first, first + count).
template <class E>
void project(const Site& s, Columns<float>& fn, int64_t first, int64_t count, const Space& space) {
  const int64_t K = padded(s.width), stride = s.outputs + kTileSlack;
  for (int64_t i = 0; i < count; i++) padRow(at<E>(s.streams.data, (first + i) * s.width), s.width, space.rows + i * K);
  for (int64_t m = 0; m < count; m += kTileM) {
    const float* rows[kTileM];
    for (int i = 0; i < kTileM; i++) rows[i] = space.rows + minOf(m + i, count - 1) * K;
    fn.multiply(rows, minOf(kTileM, count - m), space.mix + m * stride, stride);
  }
  for (int64_t i = 0; i < count; i++) {
    V squares = zero();
    for (int64_t k = 0; k < K; k += kLanes) {
      const V f = load(space.rows + i * K + k);
      squares = fma(f, f, squares);
    }
    const float factor = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(s.width) + s.eps);
    for (int64_t o = 0; o < s.outputs; o++) space.mix[i * stride + o] *= factor;
  }
}

// x[c] = sum_j w_j * f[j * d + c]
template <class E>
void collapse(const float* f, const float* w, int64_t n, int64_t d, E* x) {
  forLanes(d, [&](int64_t c, auto read, auto write) {
    V sum = zero();
    for (int64_t j = 0; j < n; j++) sum = fma(set(w[j]), read(f + j * d + c), sum);
    write(x + c, sum);
  });
}

// Matrices c[j * n + k] of sixteen rows in the lanes.
class Matrices {
 public:
  Matrices(float* lanes, int64_t n, float eps) : lanes_(lanes), n_(n), eps_(set(eps)) {}

  void sinkhorn(int32_t iterations) {
    for (int64_t j = 0; j < n_; j++) softmaxRow(j * n_);
    for (int64_t k = 0; k < n_; k++) normalise(k, n_);
    for (int32_t i = 1; i < iterations; i++) {
      for (int64_t j = 0; j < n_; j++) normalise(j * n_, 1);
      for (int64_t k = 0; k < n_; k++) normalise(k, n_);
    }
  }

 private:
  V get(int64_t i) const { return load(lanes_ + i * kLanes); }
  void put(int64_t i, V v) { store(lanes_ + i * kLanes, v); }

  void softmaxRow(int64_t start) {
    V largest = get(start), sum = zero();
    for (int64_t k = 1; k < n_; k++) largest = max(largest, get(start + k));
    for (int64_t k = 0; k < n_; k++) {
      const V e = exp(sub(get(start + k), largest));
      sum = LONGSHORE_PATH::add(sum, e);
      put(start + k, e);
    }
    for (int64_t k = 0; k < n_; k++) put(start + k, LONGSHORE_PATH::add(div(get(start + k), sum), eps_));
  }

  void normalise(int64_t start, int64_t step) {
    V sum = get(start);
    for (int64_t i = 1; i < n_; i++) sum = LONGSHORE_PATH::add(sum, get(start + i * step));
    const V factor = div(set(1.0f), LONGSHORE_PATH::add(sum, eps_));
    for (int64_t i = 0; i < n_; i++) put(start + i * step, mul(get(start + i * step), factor));
  }

  float* lanes_;
  int64_t n_;
  V eps_;
};

// Sixteen rows from `first` on, `count` of them real: mix -> pre (left in mix), post, comb.
void weights(const HcPreArgs& a, int64_t first, int64_t count, float* mix, float* lanes) {
  const int64_t n = a.n, outputs = (2 + n) * n, stride = outputs + kTileSlack;
  for (int64_t o = 0; o < outputs; o++) {
    const int64_t part = o < n ? 0 : o < 2 * n ? 1 : 2;
    float column[kLanes];
    for (int64_t l = 0; l < kLanes; l++) column[l] = mix[minOf(l, count - 1) * stride + o];
    const V x = fma(load(column), set(a.scale[part]), set(a.base[o]));
    if (part == 2) store(lanes + o * kLanes, x);
    else if (part == 1) store(lanes + o * kLanes, mul(set(2.0f), sigmoid(x)));
    else store(lanes + o * kLanes, LONGSHORE_PATH::add(sigmoid(x), set(a.hcEps)));
  }
  Matrices(lanes + 2 * n * kLanes, n, a.hcEps).sinkhorn(a.sinkhornIters);
  for (int64_t l = 0; l < count; l++) {
    for (int64_t j = 0; j < n; j++) mix[l * stride + j] = lanes[j * kLanes + l];
    for (int64_t j = 0; j < n; j++) a.post[(first + l) * n + j] = lanes[(n + j) * kLanes + l];
    for (int64_t i = 0; i < n * n; i++) a.comb[(first + l) * n * n + i] = lanes[(2 * n + i) * kLanes + l];
  }
}

// body(space, fn, first, count) for blocks of up to kRows rows.
template <class Body>
void forRows(int64_t T, const Site& s, Pool& pool, Body&& body) {
  pool.parallelFor(T, kRows, [&](int64_t begin, int64_t end, uint32_t worker) {
    const auto space = inScratch<Space>(pool, worker, s.width, s.outputs);
    Columns<float> fn({{s.fn.data, LS_F32}, {}, s.width}, 0, s.outputs, end - begin > kTileM ? space.panel : nullptr);
    for (int64_t first = begin; first < end; first += kRows) body(space, fn, first, minOf(kRows, end - first));
  });
}

}  // namespace

void hcPre(const HcPreArgs& a, Pool& pool) {
  const Site site = {a.streams, a.fn, a.n * a.d, (2 + a.n) * a.n, a.rmsEps};
  const int64_t stride = site.outputs + kTileSlack;
  withElement(a.x.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    forRows(a.T, site, pool, [&](const Space& space, Columns<float>& fn, int64_t first, int64_t count) {
      project<E>(site, fn, first, count, space);
      for (int64_t i = 0; i < count; i += kLanes) weights(a, first + i, minOf(kLanes, count - i), space.mix + i * stride, space.lanes);
      for (int64_t i = 0; i < count; i++) collapse(space.rows + i * padded(site.width), space.mix + i * stride, a.n, a.d, at<E>(a.x.data, (first + i) * a.d));
    });
  });
}

void hcHead(const HcHeadArgs& a, Pool& pool) {
  const Site site = {a.streams, a.fn, a.n * a.d, a.n, a.rmsEps};
  const int64_t stride = site.outputs + kTileSlack;
  withElement(a.h.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    forRows(a.T, site, pool, [&](const Space& space, Columns<float>& fn, int64_t first, int64_t count) {
      project<E>(site, fn, first, count, space);
      for (int64_t i = 0; i < count; i++) {
        float* w = space.mix + i * stride;
        for (int64_t j = 0; j < a.n; j++) w[j] = LONGSHORE_PATH::first(LONGSHORE_PATH::add(sigmoid(fma(set(w[j]), set(a.scale[0]), set(a.base[j]))), set(a.hcEps)));
        collapse(space.rows + i * padded(site.width), w, a.n, a.d, at<E>(a.h.data, (first + i) * a.d));
      }
    });
  });
}

// Sixteen channels of all copies are read before any is written: `out` may be `streams`.
void hcPost(const HcPostArgs& a, Pool& pool) {
  withElement(a.y.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    pool.parallelFor(a.T, grainOf(a.n * a.n * a.d / kLanes), [&](int64_t begin, int64_t end, uint32_t worker) {
      float* old = static_cast<float*>(pool.scratch(worker, static_cast<size_t>(a.n * kLanes) * sizeof(float)));
      for (int64_t t = begin; t < end; t++) {
        const E* streams = at<E>(a.streams.data, t * a.n * a.d);
        E* out = at<E>(a.out.data, t * a.n * a.d);
        forLanes(a.d, [&](int64_t c, auto read, auto write) {
          for (int64_t j = 0; j < a.n; j++) store(old + j * kLanes, read(streams + j * a.d + c));
          const V y = read(at<E>(a.y.data, t * a.d + c));
          for (int64_t k = 0; k < a.n; k++) {
            V sum = mul(set(a.post[t * a.n + k]), y);
            for (int64_t j = 0; j < a.n; j++) sum = fma(set(a.comb[(t * a.n + j) * a.n + k]), load(old + j * kLanes), sum);
            write(out + k * a.d + c, sum);
          }
        });
      }
    });
  });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
