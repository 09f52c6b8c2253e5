// Matrix products in dot form: both operands are rows along K, every output is one dot product in the path's order (vec.h).
// A tile of kTileM x kTileN accumulators reuses each loaded vector; which tile an output falls into changes no bit.
#pragma once

#include "memory.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Rows that a tile reads, and columns that it writes, behind the last one; callers make room for them.
static constexpr int64_t kTileSlack = kTileN - 1;

// kTileM rows x against N rows w: out[m * stride + n] = x[m] . w[n]. All padded: K = floats of a row, also the distance of w's rows.
// Writes up to kTileSlack columns more.
void multiplyRows(const float* const* x, const float* w, int64_t N, int64_t K, float* out, int64_t stride);

// The weight matrix of LinearArgs.
struct Matrix {
  In w;
  View<uint8_t> scale;
  int64_t K;
};

// A block of weight rows [first, first + count): multiplied straight from its bytes, or decoded once for many rows x.
class Columns {
 public:
  static int64_t panelFloats(int64_t count, int64_t K) { return (count + kTileSlack) * padded(K); }

  // `panel` has room for panelFloats; null = never decoded, worth it for up to kTileM rows x.
  Columns(const Matrix& matrix, int64_t first, int64_t count, float* panel);

  // out[m * stride + n] for m < M <= kTileM; x holds kTileM pointers to padded rows. Writes up to kTileM rows and kTileSlack columns more.
  void multiply(const float* const* x, int64_t M, float* out, int64_t stride) const;

 private:
  Matrix matrix_;
  int64_t first_, count_;
  float* panel_;
};

// Weight rows decoded at a time: few enough for their floats to stay in the second-level cache, enough to reuse a row of x.
static inline int64_t columnsPerBlock(int64_t K) { return maxOf(16, minOf(64, (int64_t{1} << 17) / padded(K) / kLanes * kLanes)); }

// Rows of an activation tensor as padded floats: in place where they already are, else converted into `space` by all threads.
struct FloatRows {
  const float* data;
  int64_t stride;

  static bool inPlace(const In& x, int64_t width) { return x.dtype == LS_F32 && width % kLanes == 0; }
  static int64_t spaceFor(const In& x, int64_t rows, int64_t width) { return inPlace(x, width) ? 0 : rows * padded(width); }

  FloatRows(const In& x, int64_t first, int64_t rows, int64_t width, float* space, Pool& pool);
  const float* row(int64_t r) const { return data + r * stride; }
};

}  // namespace longshore::cpu::LONGSHORE_PATH
