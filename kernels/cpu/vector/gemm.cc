#include "gemm.h"

#include "products.h"
#include "straight.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

// Products of a block over which prefetching of what is decoded next is spread:
// what memory cannot bring meanwhile is waited for.
constexpr int64_t kAskingCalls = 4 * kTileM / kPanelM;

// The element at which the k-th of `parts` parts of n elements begins, in whole vectors.
template <class E>
constexpr int64_t partOf(int64_t n, int64_t k, int64_t parts) {
  return n / kVector<E> * k / parts * kVector<E>;
}

// Pairs never occur with F32 weights (withOperands).
template <class E, class Body>
LONGSHORE_INLINE void withRowsFor(ls_dtype dtype, Body&& body) {
  withRows(dtype, [&](auto row) {
    if constexpr (std::is_same_v<E, float> || !std::is_same_v<decltype(row), PlainRow<float>>) body(row);
  });
}

}  // namespace

template <class E>
void multiplyRows(const E* const* x, const E* w, int64_t N, int64_t K, float* out, int64_t stride) {
  for (int64_t n = 0; n < N; n += kTileN) {
    Tile sums;
    clear(sums);
    addProducts(sums, x, w + n * K, K);
    sumTile(sums.of, out + n, stride);
  }
}

template <class E>
Columns<E>::Columns(const Matrix& matrix, int64_t first, int64_t count, E* panel) : matrix_(matrix), first_(first), count_(count), K_(padded<E>(matrix.K)), panel_(panel) {
  if (panel_ == nullptr) return;
  withRowsFor<E>(matrix_.w.dtype, [&](auto type) {
    for (int64_t n = 0; n < count_; n++) {
      const decltype(type) row(matrix_, first_ + n);
      for (int64_t from = 0; from < K_; from += kPiece<E>) decodeRow(row, from, minOf(K_, from + kPiece<E>), matrix_.K, rowOf(n, from));
    }
  });
}

template <class E>
void Columns<E>::askFor(const Matrix& next, int64_t first, int64_t count) {
  withRowsFor<E>(next.w.dtype, [&](auto row) {
    const decltype(row) wanted(next, first);
    wanted_ = rowsAt(wanted, 0);
    lines_ = blocksOf(count * next.K, row.kPerLine);
    share_ = blocksOf(lines_, kAskingCalls * blocksOf(count_, kTileN) * blocksOf(K_, kPiece<E>));
  });
}

template <class E>
void Columns<E>::askOn() {
  for (int64_t i = minOf(share_, lines_); i > 0; i--, lines_--) {
    __builtin_prefetch(wanted_.weights, 0, 2);
    wanted_.weights = addressAt(wanted_.weights, kLineBytes);
  }
}

template <class E>
void Columns<E>::multiplyPanel(const E* const* x, int64_t M, float* out, int64_t stride) {
  const int64_t tilesM = blocksOf(M, kTileM), tilesN = blocksOf(count_, kTileN);
  auto* kept = reinterpret_cast<Tile*>(panel_ + (count_ + kTileSlack) * K_);  // [tilesM, tilesN], after the rows
  for (int64_t from = 0; from < K_; from += kPiece<E>) {
    const int64_t to = minOf(K_, from + kPiece<E>), next = minOf(K_, to + kPiece<E>) - to;
    const E* piece[kPanelM];
    for (int m = 0; m < kPanelM; m++) piece[m] = x[m] + from;
    for (int64_t n = 0; n < tilesN; n++) {
      askOn();
      for (int64_t k = partOf<E>(next, n, tilesN); k < partOf<E>(next, n + 1, tilesN); k += kVector<E>) {
        for (int m = 0; m < tilesM * kTileM; m++) __builtin_prefetch(x[m] + to + k, 0, 3);
      }
      for (int64_t m = 0; m < tilesM; m++) {
        Tile sums;
        if (from == 0) clear(sums);
        else sums = kept[m * tilesN + n];
        addProducts(sums, piece + m * kTileM, rowOf(n * kTileN, from), to - from);
        if (to < K_) kept[m * tilesN + n] = sums;
        else sumTile(sums.of, out + m * kTileM * stride + n * kTileN, stride);
      }
    }
  }
}

template <class E>
void Columns<E>::multiply(const E* const* x, int64_t M, float* out, int64_t stride) {
  if (panel_ != nullptr) {
    for (int64_t m = 0; m < M; m += kPanelM) multiplyPanel(x + m, minOf(kPanelM, M - m), out + m * stride, stride);
    return;
  }
  withRowsFor<E>(matrix_.w.dtype, [&](auto row) {
    using Row = decltype(row);
    if (M <= kTileM) multiplyPacked<kTileM, Row, E>(matrix_, first_, count_, wanted_, x, M, out, stride);
    else multiplyFew<Row>(matrix_, first_, count_, wanted_, x, M, out, stride);
  });
}

template <class E>
PaddedRows<E>::PaddedRows(const In& x, int64_t first, int64_t rows, int64_t width, E* space, Pool& pool) : data(space), stride(padded<E>(width)) {
  if (inPlace(x, width)) {
    data = at<E>(x.data, first * width);
    return;
  }
  withElement(x.dtype == LS_F32, [&](auto* e) {
    using From = std::remove_pointer_t<decltype(e)>;
    pool.parallelFor(rows, grainOf(width / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
      for (int64_t r = begin; r < end; r++) padRow(at<From>(x.data, (first + r) * width), width, space + r * stride);
    });
  });
}

template void multiplyRows(const float* const*, const float*, int64_t, int64_t, float*, int64_t);
template class Columns<float>;
template struct PaddedRows<float>;
#if defined(LONGSHORE_PAIRS)
template class Columns<Bf16>;
template struct PaddedRows<Bf16>;
#endif

}  // namespace longshore::cpu::LONGSHORE_PATH
