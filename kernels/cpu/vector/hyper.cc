// Manifold-constrained hyper-connections (spec 2.1): HC_PRE, HC_POST, HC_HEAD.
#include "path.h"

#include "gemm.h"
#include "math.h"
#include "sinkhorn.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

constexpr int64_t kRows = 48;  // rows that share one decoded fn; a multiple of the lanes and of kRowsM
static_assert(kRows % kLanes == 0 && kRows % kRowsM == 0);

// Calls body with the number of copies:
// a constant if it is that of every released model, so that sums over copies need no loop.
template <class Body>
LONGSHORE_INLINE void withCopies(int64_t n, Body&& body) {
  if (n == 4) body(std::integral_constant<int64_t, 4>());
  else body(n);
}

struct Site {
  In streams;
  View<float> fn;
  int64_t width, outputs;  // n * d, rows of fn
  float eps;
};

// Projections of some rows of the call.
struct Mixed {
  float* mix;  // [rows, stride]: their projections
  V* lanes;    // [outputs]: those of sixteen rows side by side
  int64_t stride;
  Mixed(Carver& c, int64_t rows, int64_t outputs)
      : mix(c.take<float>(blocksOf(rows, kRowsM) * kRowsM * (outputs + kTileSlack))), lanes(c.take<V>(outputs)), stride(outputs + kTileSlack) {}
};

struct Space {
  float* panel;    // null if so few rows need none
  float* f;        // [rows, padded width]: the streams
  float* factors;  // [rows]: of their norms
  Mixed mixed;
  Space(Carver& c, int64_t rows, int64_t width, int64_t outputs)
      : panel(Columns<float>::decodes(rows) ? c.take<float>(Columns<float>::panelSize(outputs, width)) : nullptr),
        f(c.take<float>(rows * padded(width))),
        factors(c.take<float>(rows)),
        mixed(c, rows, outputs) {}
};

// Loads one row as floats. Returns rsqrt(mean(f^2) + eps).
template <class E>
float loadRow(const E* streams, int64_t width, float eps, float* f) {
  V squares = zero();
  forLanes(width, [&](int64_t k, auto read, auto) LONGSHORE_INLINED {
    const V v = read(streams + k);
    store(f + k, v);
    squares = fma(v, v, squares);
  });
  return 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(width) + eps);
}

// mix[i, o] = (fn_o . f_i) * rsqrt(mean(f_i^2) + eps) for rows [first, first + count) and the `outputs` that fn holds.
template <class E>
void project(const Site& s, Columns<float>& fn, int64_t outputs, int64_t first, int64_t count, const Space& space) {
  const int64_t K = padded(s.width), stride = space.mixed.stride;
  for (int64_t i = 0; i < count; i++) space.factors[i] = loadRow(at<E>(s.streams.data, (first + i) * s.width), s.width, s.eps, space.f + i * K);
  for (int64_t m = 0; m < count; m += kRowsM) {
    const float* rows[kRowsM];
    for (int i = 0; i < kRowsM; i++) rows[i] = space.f + minOf(m + i, count - 1) * K;
    fn.multiply(rows, minOf(kRowsM, count - m), space.mixed.mix + m * stride, stride);
  }
  for (int64_t i = 0; i < count; i++) {
    for (int64_t o = 0; o < outputs; o++) space.mixed.mix[i * stride + o] *= space.factors[i];
  }
}

// Many rows: threads split them, up to kRows at a time.
template <class E, class Finish>
void projectMany(int64_t T, const Site& s, Pool& pool, Finish&& finish) {
  pool.parallelFor(T, kRows, [&](int64_t begin, int64_t end, uint32_t worker) {
    const auto space = inScratch<Space>(pool, worker, kRows, s.width, s.outputs);
    Columns<float> fn({{s.fn.data, LS_F32}, {}, s.width}, 0, s.outputs, space.panel);
    for (int64_t first = begin; first < end; first += kRows) {
      const int64_t count = minOf(kRows, end - first);
      project<E>(s, fn, s.outputs, first, count, space);
      finish(space.mixed, first, count);
    }
  });
}

// Few rows, as in a step: reading fn once takes the time, so threads split the outputs. Each thread converts the rows
// to floats for itself, since a row that another thread has written comes slower than it is converted.
template <class E, class Finish>
void projectFew(int64_t T, const Site& s, Pool& pool, Finish&& finish) {
  const int64_t blocks = blocksOf(s.outputs, kTileN);
  const int64_t grain = maxOf(blocksOf(blocks, pool.threads()), grainOf(T * kTileN * padded(s.width) / kLanes));
  const auto mixed = inShared<Mixed>(pool, T, s.outputs);
  pool.parallelFor(blocks, grain, [&](int64_t begin, int64_t end, uint32_t worker) {
    const int64_t output = begin * kTileN, outputs = minOf(s.outputs, end * kTileN) - output;
    const auto space = inScratch<Space>(pool, worker, T, s.width, outputs);
    Columns<float> fn({{s.fn.data, LS_F32}, {}, s.width}, output, outputs, space.panel);
    project<E>(s, fn, outputs, 0, T, space);
    for (int64_t t = 0; t < T; t++) std::memcpy(mixed.mix + t * mixed.stride + output, space.mixed.mix + t * space.mixed.stride, static_cast<size_t>(outputs) * sizeof(float));
  });
  finish(mixed, 0, T);
}

// Calls finish(mixed, first, count) once the rows [first, first + count) are projected, for all T rows of the call.
template <class E, class Finish>
void projectAll(int64_t T, const Site& s, Pool& pool, Finish&& finish) {
  if (T > kRows) projectMany<E>(T, s, pool, finish);
  else if (T > 0) projectFew<E>(T, s, pool, finish);
}

// x[c] = sum_j w_j * streams[j, c]
template <class E>
LONGSHORE_INLINE void collapse(int64_t n, const E* streams, const float* w, int64_t d, E* x) {
  forLanes(d, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED {
    V sum = zero();
    LONGSHORE_UNROLL for (int64_t j = 0; j < n; j++) sum = fma(set(w[j]), read(streams + j * d + c), sum);
    write(x + c, sum);
  });
}

// Sixteen rows from `first` on, `count` of them real: mix -> pre (left in mix), post, comb.
template <class N>
void weights(N copies, const HcPreArgs& a, int64_t first, int64_t count, float* mix, const Mixed& mixed) {
  const int64_t n = copies, stride = mixed.stride;
  V* lanes = mixed.lanes;
  for (int64_t o = 0; o < (2 + n) * n; o++) {
    const int64_t part = o < n ? 0 : o < 2 * n ? 1 : 2;
    float column[kLanes];
    for (int64_t l = 0; l < kLanes; l++) column[l] = mix[minOf(l, count - 1) * stride + o];
    const V x = fma(load(column), set(a.scale[part]), set(a.base[o]));
    if (part == 2) lanes[o] = x;
    else if (part == 1) lanes[o] = mul(set(2.0f), sigmoid(x));
    else lanes[o] = LONGSHORE_PATH::add(sigmoid(x), set(a.hcEps));
  }
  sinkhorn(copies, lanes + 2 * n, a.sinkhornIters, set(a.hcEps));
  const auto lane = [&](int64_t o, int64_t l) { return at<float>(lanes, o * kLanes)[l]; };
  for (int64_t l = 0; l < count; l++) {
    for (int64_t j = 0; j < n; j++) mix[l * stride + j] = lane(j, l);
    for (int64_t j = 0; j < n; j++) a.post[(first + l) * n + j] = lane(n + j, l);
    for (int64_t i = 0; i < n * n; i++) a.comb[(first + l) * n * n + i] = lane(2 * n + i, l);
  }
}

}  // namespace

void hcPre(const HcPreArgs& a, Pool& pool) {
  const Site site = {a.streams, a.fn, a.n * a.d, (2 + a.n) * a.n, a.rmsEps};
  withElement(a.x.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    projectAll<E>(a.T, site, pool, [&](const Mixed& mixed, int64_t first, int64_t count) {
      withCopies(a.n, [&](auto n) {
        for (int64_t i = 0; i < count; i += kLanes) weights(n, a, first + i, minOf(kLanes, count - i), mixed.mix + i * mixed.stride, mixed);
        for (int64_t i = 0; i < count; i++) collapse(n, at<E>(a.streams.data, (first + i) * site.width), mixed.mix + i * mixed.stride, a.d, at<E>(a.x.data, (first + i) * a.d));
      });
    });
  });
}

void hcHead(const HcHeadArgs& a, Pool& pool) {
  const Site site = {a.streams, a.fn, a.n * a.d, a.n, a.rmsEps};
  withElement(a.h.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    projectAll<E>(a.T, site, pool, [&](const Mixed& mixed, int64_t first, int64_t count) {
      for (int64_t i = 0; i < count; i++) {
        float* w = mixed.mix + i * mixed.stride;
        for (int64_t j = 0; j < a.n; j++) w[j] = LONGSHORE_PATH::first(LONGSHORE_PATH::add(sigmoid(fma(set(w[j]), set(a.scale[0]), set(a.base[j]))), set(a.hcEps)));
        collapse(a.n, at<E>(a.streams.data, (first + i) * site.width), w, a.d, at<E>(a.h.data, (first + i) * a.d));
      }
    });
  });
}

// Sixteen channels of all copies are read before any is written: `out` may be `streams`.
template <class E>
LONGSHORE_INLINE void postRow(int64_t n, const HcPostArgs& a, int64_t t) {
  const E* streams = at<E>(a.streams.data, t * n * a.d);
  E* out = at<E>(a.out.data, t * n * a.d);
  forLanes(a.d, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED {
    V old[kCopiesMax];
    LONGSHORE_UNROLL for (int64_t j = 0; j < n; j++) {
      __builtin_prefetch(addressAt(streams, ((n + j) * a.d + c) * static_cast<int64_t>(sizeof(E))), 0, 2);  // of the next row
      old[j] = read(streams + j * a.d + c);
    }
    const V y = read(at<E>(a.y.data, t * a.d + c));
    LONGSHORE_UNROLL for (int64_t k = 0; k < n; k++) {
      V sum = mul(set(a.post[t * n + k]), y);
      LONGSHORE_UNROLL for (int64_t j = 0; j < n; j++) sum = fma(set(a.comb[(t * n + j) * n + k]), old[j], sum);
      write(out + k * a.d + c, sum);
    }
  });
}

void hcPost(const HcPostArgs& a, Pool& pool) {
  withElement(a.y.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    withCopies(a.n, [&](auto n) {
      pool.parallelFor(a.T, grainOf(n * n * a.d / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
        for (int64_t t = begin; t < end; t++) postRow<E>(n, a, t);
      });
    });
  });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
