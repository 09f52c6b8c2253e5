// Matrix products in dot form: both operands are rows along K, and every output is
// one dot product in the path's order (vec.h). A tile of kTileM x kTileN accumulators
// reuses each loaded vector; which tile an output falls into changes no bit.
//
// E is the type of the operands: float (vec.h), or, on paths that are built with LONGSHORE_PAIRS, Bf16 (pairs.h).
#pragma once

#include <type_traits>

#include "memory.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Weight rows multiplied at once: by one row x straight from their bytes, or by several once they are decoded.
static constexpr int kWideN = 2 * kTileN;

// Rows x passed at once.
static constexpr int kRowsM = 16;

// Rows x that meet a decoded block at a time: two tiles of them, so that weights come from the L2 cache half as often.
static constexpr int kPanelM = 2 * kTileM;
static_assert(kRowsM % kPanelM == 0);

// Elements of a row that are multiplied at a time. Those of kPanelM rows x, and of a tile of weights, stay in the L1
// cache while all weights of a block pass. Sums are kept from piece to piece, which changes no bit.
template <class E>
static constexpr int64_t kPiece = 2048 / sizeof(E);

// The sums of a tile, lanes not yet added up.
struct Tile {
  V of[kTileM][kTileN];
};

// Rows that a tile reads, and columns that it writes, past the last one; callers make room for them.
static constexpr int64_t kTileSlack = kWideN - 1;

// kTileM rows x times N rows w: out[m * stride + n] = x[m] . w[n]. All rows are padded: K = elements of a row, and the
// distance of w's rows. Writes up to kTileSlack columns past the last.
template <class E>
void multiplyRows(const E* const* x, const E* w, int64_t N, int64_t K, float* out, int64_t stride);

// The weight matrix of LinearArgs.
struct Matrix {
  In w;
  View<uint8_t> scale;
  int64_t K;
};

// Where the next weight rows begin, and their scales if each row has its own.
struct NextRows {
  const void* weights = nullptr;
  const void* scales = nullptr;
};

// A block of weight rows [first, first + count): multiplied straight from its bytes, or decoded once for many rows x.
template <class E>
class Columns {
 public:
  static int64_t panelSize(int64_t count, int64_t K) {
    return (count + kTileSlack) * padded<E>(K) + kPanelM / kTileM * blocksOf(count, kTileN) * static_cast<int64_t>(sizeof(Tile) / sizeof(E));
  }

  // Whether this many rows x justify decoding a block as a whole and keeping it in the L2 cache. If not, it is decoded
  // anew for each kRowsM of them, in the L1 cache.
  static bool decodes(int64_t rows) { return rows > (std::is_same_v<E, Bf16> ? 3 : 1) * kRowsM; }

  // `panel` has room for panelSize; null: the block is not decoded as a whole.
  Columns(const Matrix& matrix, int64_t first, int64_t count, E* panel);

  // Prefetches the next rows, [first, first + count), while this block is multiplied: for a decoded block all of them,
  // since decoding would wait for them, for any other the beginnings of the first few.
  void askFor(const Matrix& next, int64_t first, int64_t count);

  // out[m * stride + n] for m < M <= kRowsM; x holds kRowsM pointers to padded rows. Writes up to kTileM rows and
  // kTileSlack columns past the last.
  void multiply(const E* const* x, int64_t M, float* out, int64_t stride);

 private:
  void multiplyPanel(const E* const* x, int64_t M, float* out, int64_t stride);
  void askOn();
  // Where element `from` of row n lies, which begins a piece: all rows of one piece come before the next piece.
  E* rowOf(int64_t n, int64_t from) const { return panel_ + from * (count_ + kTileSlack) + n * minOf(kPiece<E>, K_ - from); }

  Matrix matrix_;
  int64_t first_, count_, K_;
  E* panel_;
  NextRows wanted_;    // what to prefetch next
  int64_t lines_ = 0;  // cache lines of it that are left
  int64_t share_ = 0;  // cache lines that a tile's product prefetches
};

// Weight rows decoded at a time into each of `panels` panels:
// few enough to stay in the L2 cache, enough to reuse a row of x.
template <class E>
int64_t columnsPerBlock(int64_t K, int64_t panels) {
  constexpr int64_t bytes = int64_t{1} << 19;
  return maxOf(16, minOf(64, bytes / static_cast<int64_t>(sizeof(E)) / panels / padded<E>(K) / kLanes * kLanes));
}

// Rows of an activation tensor, padded: in place where they already are, else copied into `space` by all threads.
template <class E>
struct PaddedRows {
  const E* data;
  int64_t stride;

  static bool inPlace(const In& x, int64_t width) { return (x.dtype == LS_F32) == std::is_same_v<E, float> && width % kVector<E> == 0; }
  static int64_t spaceFor(const In& x, int64_t rows, int64_t width) { return inPlace(x, width) ? 0 : rows * padded<E>(width); }

  PaddedRows(const In& x, int64_t first, int64_t rows, int64_t width, E* space, Pool& pool);
  const E* row(int64_t r) const { return data + r * stride; }
};

#if defined(LONGSHORE_PAIRS)
static constexpr bool kPairs = true;
#else
static constexpr bool kPairs = false;
#endif

// Calls body with a null pointer of the operand type for these activations and weights.
template <class Body>
LONGSHORE_INLINE void withOperands(ls_dtype x, ls_dtype w, Body&& body) {
  if constexpr (kPairs) {
    if (x == LS_BF16 && w != LS_F32) return body(static_cast<Bf16*>(nullptr));
  }
  body(static_cast<float*>(nullptr));
}

}  // namespace longshore::cpu::LONGSHORE_PATH
