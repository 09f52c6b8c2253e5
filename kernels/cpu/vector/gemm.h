// Matrix products in dot form: both operands are rows along K, every output is one dot product in the path's order (vec.h).
// A tile of kTileM x kTileN accumulators reuses each loaded vector; which tile an output falls into changes no bit.
#pragma once

#include "weights.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Rows that a tile reads or writes behind the last one; callers make room for them.
static constexpr int64_t kTileSlack = kTileN - 1;

// out[m * stride + n] = x[m] . w[n]; x and w padded, K in floats of a padded row.
LONGSHORE_INLINE void multiplyTile(const float* const* x, const float* w, int64_t wStride, int64_t K, float* out, int64_t stride) {
  V acc[kTileM][kTileN];
  LONGSHORE_UNROLL for (int m = 0; m < kTileM; m++) {
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) acc[m][n] = zero();
  }
  for (int64_t k = 0; k < K; k += kLanes) {
    V rows[kTileN];
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) rows[n] = load(w + n * wStride + k);
    LONGSHORE_UNROLL for (int m = 0; m < kTileM; m++) {
      const V xs = load(x[m] + k);
      LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) acc[m][n] = fma(xs, rows[n], acc[m][n]);
    }
  }
  sumTile(acc, out, stride);
}

// kTileM rows x against N rows w; writes up to kTileSlack columns more.
static inline void multiplyRows(const float* const* x, const float* w, int64_t wStride, int64_t N, int64_t K, float* out, int64_t stride) {
  for (int64_t n = 0; n < N; n += kTileN) multiplyTile(x, w + n * wStride, wStride, K, out + n, stride);
}

// M <= kTileM rows x against kTileN weight rows, straight from their bytes.
template <int M, class Row>
LONGSHORE_INLINE void multiplyPacked(const float* const* x, const Row (&rows)[kTileN], int64_t K, float* out, int64_t stride) {
  V acc[M][kTileN];
  LONGSHORE_UNROLL for (int m = 0; m < M; m++) {
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) acc[m][n] = zero();
  }
  const auto step = [&](int64_t k, auto&& weights) __attribute__((always_inline)) {
    V xs[M];
    LONGSHORE_UNROLL for (int m = 0; m < M; m++) xs[m] = load(x[m] + k);
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) {
      const V w = weights(rows[n]);
      LONGSHORE_UNROLL for (int m = 0; m < M; m++) acc[m][n] = fma(xs[m], w, acc[m][n]);
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) step(k, [k](const Row& row) __attribute__((always_inline)) { return row.at16(k); });
  if (k < K) step(k, [k, K](const Row& row) __attribute__((always_inline)) { return row.part(k, K - k); });
  LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) {
    const bool nan = rows[n].holdsNan(K);
    LONGSHORE_UNROLL for (int m = 0; m < M; m++) out[m * stride + n] = nan ? fromBits(0x7FC00000) : sum(acc[m][n]);
  }
}

// A block of weight rows [first, first + count): multiplied straight from its bytes, or decoded once for many rows x.
template <class Row>
class Columns {
 public:
  static int64_t panelFloats(int64_t count, int64_t K) { return (count + kTileSlack) * padded(K); }

  // `panel` has room for panelFloats; null = never decoded, for at most kTileM rows x.
  Columns(const Matrix& matrix, int64_t first, int64_t count, float* panel) : matrix_(matrix), first_(first), count_(count), panel_(panel) {
    if (panel_ == nullptr) return;
    for (int64_t n = 0; n < count_; n++) decodeRow(Row(matrix_, first_ + n), matrix_.K, panel_ + n * padded(matrix_.K));
  }

  // out[m * stride + n] for m < M <= kTileM; x holds kTileM pointers. Writes up to kTileM rows and kTileSlack columns more.
  void multiply(const float* const* x, int64_t M, float* out, int64_t stride) const {
    if (panel_ != nullptr) return multiplyRows(x, panel_, padded(matrix_.K), count_, padded(matrix_.K), out, stride);
    packed<kTileM>(x, M, out, stride);
  }

 private:
  template <int M>
  void packed(const float* const* x, int64_t rows, float* out, int64_t stride) const {
    if constexpr (M > 1) {
      if (rows < M) return packed<M - 1>(x, rows, out, stride);
    }
    for (int64_t n = 0; n < count_; n += kTileN) {
      Row tile[kTileN];
      for (int i = 0; i < kTileN; i++) tile[i] = Row(matrix_, first_ + minOf(n + i, count_ - 1));
      multiplyPacked<M>(x, tile, matrix_.K, out + n, stride);
    }
  }

  Matrix matrix_;
  int64_t first_, count_;
  float* panel_;
};

// Weight rows decoded at a time: few enough for their floats to stay in the second-level cache, enough to reuse a row of x.
LONGSHORE_INLINE int64_t columnsPerBlock(int64_t K) { return maxOf(8, minOf(64, (int64_t{1} << 16) / padded(K))); }

// Rows of an activation tensor as padded floats: in place where they already are, else converted into `space` by all threads.
struct FloatRows {
  const float* data;
  int64_t stride;

  static bool inPlace(const In& x, int64_t width) { return x.dtype == LS_F32 && width % kLanes == 0; }
  static int64_t spaceFor(const In& x, int64_t rows, int64_t width) { return inPlace(x, width) ? 0 : rows * padded(width); }

  FloatRows(const In& x, int64_t first, int64_t rows, int64_t width, float* space, Pool& pool) : data(space), stride(padded(width)) {
    if (inPlace(x, width)) {
      data = at<float>(x.data, first * width);
      return;
    }
    withElement(x.dtype == LS_F32, [&](auto* e) {
      using E = std::remove_pointer_t<decltype(e)>;
      pool.parallelFor(rows, grainOf(width / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
        for (int64_t r = begin; r < end; r++) widenRow(at<E>(x.data, (first + r) * width), width, space + r * stride);
      });
    });
  }
  const float* row(int64_t r) const { return data + r * stride; }
};

}  // namespace longshore::cpu::LONGSHORE_PATH
