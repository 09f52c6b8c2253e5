// Weight rows as they lie in memory against few rows x: decoded in registers for up to a tile's rows x, into the L1
// cache for more. What comes next is prefetched meanwhile.
#pragma once

#include "products.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Whether the rows lie in one block of scales, so that what is made of a scale serves all of them.
template <class Row, class E, int N>
LONGSHORE_INLINE bool shareScales(const Row (&rows)[N], const E*) {
  if constexpr (kTogether<Row, E> == 2) return rows[0].scale == rows[N - 1].scale;
  return false;
}

// Weight rows that M rows x meet at once. One row x leaves registers for more of them:
// more chains of sums, and more cache lines in flight.
template <int M, class E>
static constexpr int kPackedN = M == 1 && std::is_same_v<E, Bf16> ? kWideN : kTileN;

constexpr int64_t kLineBytes = 64;

// Every row is prefetched this many cache lines ahead, and past its end the row that takes its place in the next tile:
// few enough to wait in the L1 cache.
constexpr int64_t kLinesAhead = 12;

// The weights, and the row's own scales if it has some, from element k on.
template <class Row>
LONGSHORE_INLINE NextRows rowsAt(const Row& row, int64_t k) {
  if constexpr (kOwnScales<Row>) return {row.addressOf(k), row.scaleAddress(k)};
  return {row.addressOf(k), nullptr};
}

// Rows n and on of a block of weight rows, with the last one repeated past the end.
// `next` comes next; `behind` comes after the block's last rows.
template <class Row, int N>
struct RowTile {
  Row rows[N];
  NextRows next;

  RowTile(const Matrix& matrix, int64_t first, int64_t count, int64_t n, const NextRows& behind) {
    for (int i = 0; i < N; i++) rows[i] = Row(matrix, first + minOf(n + i, count - 1));
    next = n + N < count || behind.weights == nullptr ? rowsAt(rows[0], N * matrix.K) : behind;
  }
};

// Prefetches scales of the next N rows: at element k of K, the line that lies as far into them.
template <class Row, int N>
LONGSHORE_INLINE void askForScales(const NextRows& next, int64_t k) {
  if constexpr (kOwnScales<Row>) __builtin_prefetch(addressAt(next.scales, N * k / 32), 0, 3);
}

// The distance from row[K] to `next`, in elements.
template <class Row>
LONGSHORE_INLINE int64_t onwardFrom(const Row& row, int64_t K, const void* next) {
  return bytesBetween(row.addressOf(K), next) * Row::kPerLine / kLineBytes;
}

// M rows x against N weight rows, straight from their bytes.
template <int M, class Row, class E, int N>
LONGSHORE_INLINE void multiplyPackedTile(const E* const* x, const RowTile<Row, N>& tile, int64_t K, float* out, int64_t stride) {
  const auto& rows = tile.rows;
  V acc[M][N];
  LONGSHORE_UNROLL for (int m = 0; m < M; m++) {
    LONGSHORE_UNROLL for (int n = 0; n < N; n++) acc[m][n] = zero();
  }
  constexpr int together = kTogether<Row, E>;
  constexpr int64_t width = together * kVector<E>;
  const auto step = [&](int64_t k, int64_t end, auto&& decode) LONGSHORE_INLINED {
    LONGSHORE_UNROLL for (int n = 0; n < N; n++) {
      decltype(loadVector(x[0])) w[together];
      decode(rows[n], w);
      LONGSHORE_UNROLL for (int i = 0; i < together; i++) {
        if (k + i * kVector<E> >= end) break;
        LONGSHORE_UNROLL for (int m = 0; m < M; m++) acc[m][n] = multiplyAdd(loadVector(x[m] + k + i * kVector<E>), w[i], acc[m][n]);
      }
    }
  };
  const auto alone = [&](int64_t k, int64_t end) LONGSHORE_INLINED {
    step(k, end, [&](const Row& row, auto& w) LONGSHORE_INLINED { vectorsAt(row, k, end, x[0], w); });
  };
  const bool alike = shareScales(rows, x[0]);
  int64_t k = 0;
  // All whole steps before `end`; each prefetches what lies `ahead` of it.
  const auto stepTo = [&](int64_t end, int64_t ahead) LONGSHORE_INLINED {
    for (; k + width <= end; k += width) {
      if (k % Row::kPerLine == 0) {
        LONGSHORE_UNROLL for (int n = 0; n < N; n++) __builtin_prefetch(rows[n].addressOf(k + ahead), 0, 3);
        askForScales<Row, N>(tile.next, k);
      }
      if constexpr (together == 2) {
        if (alike) {
          const E4m3Scaled table(rows[0].scale[k / kWeightBlock]);
          step(k, k + width, [&](const Row& row, auto& w) LONGSHORE_INLINED { scaledE4m3(row.w + k, table, w); });
          continue;
        }
      }
      alone(k, k + width);
    }
  };
  const int64_t ahead = minOf(K, kLinesAhead * Row::kPerLine);
  stepTo(K - ahead, ahead);
  stepTo(K, ahead + onwardFrom(rows[0], K, tile.next.weights));
  if (k < K) alone(k, K);
  LONGSHORE_UNROLL for (int n = 0; n < N; n++) {
    const bool nan = needsNan(rows[n], K, x[0]);
    LONGSHORE_UNROLL for (int m = 0; m < M; m++) out[m * stride + n] = nan ? kNan : sum(acc[m][n]);
  }
}

template <int M, class Row, class E>
static void multiplyPacked(const Matrix& matrix, int64_t first, int64_t count, const NextRows& next, const E* const* x, int64_t rows, float* out, int64_t stride) {
  if constexpr (M > 1) {
    if (rows < M) return multiplyPacked<M - 1, Row, E>(matrix, first, count, next, x, rows, out, stride);
  }
  constexpr int N = kPackedN<M, E>;
  for (int64_t n = 0; n < count; n += N) {
    const RowTile<Row, N> tile(matrix, first, count, n, next);
    multiplyPackedTile<M>(x, tile, matrix.K, out + n, stride);
  }
}

// Elements of a row that multiplyFew decodes at a time.
template <class E>
constexpr int64_t kFewPiece = 1024 / sizeof(E);

// M rows x, more than a tile's, against the block: kWideN rows of it are decoded piece by piece into the L1 cache,
// where all rows x meet them. The next piece is prefetched meanwhile, for the block's last rows that of `next`. Rows x
// come from the L2 cache by themselves: prefetched, they come later.
template <class Row, class E>
static void multiplyFew(const Matrix& matrix, int64_t first, int64_t count, const NextRows& next, const E* const* x, int64_t M, float* out, int64_t stride) {
  constexpr int64_t size = kFewPiece<E>;
  alignas(64) E decoded[kWideN * size];
  const int64_t K = padded<E>(matrix.K), tilesM = blocksOf(M, kTileM);
  for (int64_t n = 0; n < count; n += kWideN) {
    const RowTile<Row, kWideN> weights(matrix, first, count, n, next);
    const auto& rows = weights.rows;
    const int64_t onward = onwardFrom(rows[0], K, weights.next.weights);
    Tile sums[kRowsM / kTileM][kWideN / kTileN];  // from piece to piece
    for (int64_t from = 0; from < K; from += size) {
      const int64_t to = minOf(K, from + size), width = to - from;
      for (int i = 0; i < kWideN; i++) {
        decodeRow(rows[i], from, to, matrix.K, decoded + i * width);
        for (int64_t k = to; k < to + size; k += Row::kPerLine) __builtin_prefetch(rows[i].addressOf(to < K ? k : k + onward), 0, 3);
        askForScales<Row, kWideN>(weights.next, from + i * (size / kWideN));
      }
      for (int64_t m = 0; m < tilesM; m++) {
        const E* piece[kTileM];
        for (int i = 0; i < kTileM; i++) piece[i] = x[m * kTileM + i] + from;
        for (int h = 0; h < kWideN / kTileN; h++) {
          Tile tile;
          if (from == 0) clear(tile);
          else tile = sums[m][h];
          addProducts(tile, piece, decoded + h * kTileN * width, width);
          if (to < K) sums[m][h] = tile;
          else sumTile(tile.of, out + m * kTileM * stride + n + h * kTileN, stride);
        }
      }
    }
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
