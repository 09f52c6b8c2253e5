#include "gemm.h"

#include "weights.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

LONGSHORE_INLINE void multiplyTile(const float* const* x, const float* w, int64_t K, float* out, int64_t stride) {
  V acc[kTileM][kTileN];
  LONGSHORE_UNROLL for (int m = 0; m < kTileM; m++) {
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) acc[m][n] = zero();
  }
  for (int64_t k = 0; k < K; k += kLanes) {
    V rows[kTileN];
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) rows[n] = load(w + n * K + k);
    LONGSHORE_UNROLL for (int m = 0; m < kTileM; m++) {
      const V xs = load(x[m] + k);
      LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) acc[m][n] = fma(xs, rows[n], acc[m][n]);
    }
  }
  sumTile(acc, out, stride);
}

// M rows x against kTileN weight rows, straight from their bytes.
template <int M, class Row>
LONGSHORE_INLINE void multiplyPackedTile(const float* const* x, const Row (&rows)[kTileN], int64_t K, float* out, int64_t stride) {
  V acc[M][kTileN];
  LONGSHORE_UNROLL for (int m = 0; m < M; m++) {
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) acc[m][n] = zero();
  }
  const auto step = [&](int64_t k, auto&& weights) __attribute__((always_inline)) {
    LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) {
      const V w = weights(rows[n]);
      LONGSHORE_UNROLL for (int m = 0; m < M; m++) acc[m][n] = fma(load(x[m] + k), w, acc[m][n]);
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    if (k % Row::kPerLine == 0) {  // the next tile lies kTileN rows on: too far for the processor to guess
      LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) __builtin_prefetch(rows[n].addressOf(k + kTileN * K));
    }
    step(k, [k](const Row& row) __attribute__((always_inline)) { return row.at16(k); });
  }
  if (k < K) step(k, [k, K](const Row& row) __attribute__((always_inline)) { return row.part(k, K - k); });
  LONGSHORE_UNROLL for (int n = 0; n < kTileN; n++) {
    const bool nan = rows[n].holdsNan(K);
    LONGSHORE_UNROLL for (int m = 0; m < M; m++) out[m * stride + n] = nan ? kNan : sum(acc[m][n]);
  }
}

template <int M, class Row>
void multiplyPacked(const Matrix& matrix, int64_t first, int64_t count, const float* const* x, int64_t rows, float* out, int64_t stride) {
  if constexpr (M > 1) {
    if (rows < M) return multiplyPacked<M - 1, Row>(matrix, first, count, x, rows, out, stride);
  }
  for (int64_t n = 0; n < count; n += kTileN) {
    Row tile[kTileN];
    for (int i = 0; i < kTileN; i++) tile[i] = Row(matrix, first + minOf(n + i, count - 1));
    multiplyPackedTile<M>(x, tile, matrix.K, out + n, stride);
  }
}

}  // namespace

void multiplyRows(const float* const* x, const float* w, int64_t N, int64_t K, float* out, int64_t stride) {
  for (int64_t n = 0; n < N; n += kTileN) multiplyTile(x, w + n * K, K, out + n, stride);
}

Columns::Columns(const Matrix& matrix, int64_t first, int64_t count, float* panel) : matrix_(matrix), first_(first), count_(count), panel_(panel) {
  if (panel_ == nullptr) return;
  withRows(matrix_.w.dtype, [&](auto row) {
    for (int64_t n = 0; n < count_; n++) decodeRow(decltype(row)(matrix_, first_ + n), matrix_.K, panel_ + n * padded(matrix_.K));
  });
}

void Columns::multiply(const float* const* x, int64_t M, float* out, int64_t stride) const {
  if (panel_ != nullptr) return multiplyRows(x, panel_, count_, padded(matrix_.K), out, stride);
  withRows(matrix_.w.dtype, [&](auto row) { multiplyPacked<kTileM, decltype(row)>(matrix_, first_, count_, x, M, out, stride); });
}

FloatRows::FloatRows(const In& x, int64_t first, int64_t rows, int64_t width, float* space, Pool& pool) : data(space), stride(padded(width)) {
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

}  // namespace longshore::cpu::LONGSHORE_PATH
