// The arguments of the operations of kernels.h, as a path gets them (path.h). They are
// already checked: shapes agree, dtypes are among those of the table, indices point
// inside, outputs overlap nothing they must not. `T`, `d`, ... are named as in kernels.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "formats.h"
#include "longshore/kernels.h"

namespace longshore::cpu {

// Read-only elements at any alignment; null = the optional operand is absent.
template <class T>
struct View {
  const void* data;

  __attribute__((always_inline)) T operator[](int64_t i) const {
    T value;
    std::memcpy(&value, static_cast<const char*>(data) + i * static_cast<int64_t>(sizeof(T)), sizeof value);
    return value;
  }
  __attribute__((always_inline)) explicit operator bool() const { return data != nullptr; }
};

// An operand whose dtype the call chooses.
struct In {
  const void* data;
  ls_dtype dtype;
};
struct Out {
  void* data;
  ls_dtype dtype;
};

// Rows of `rowBytes` spread over pages; only pages that hold visible rows are present.
struct Pages {
  const uint8_t* const* pages;  // each at its page's row 0 (page_offset already added)
  int64_t rowsPerPage;
  int64_t rowBytes;

  __attribute__((always_inline)) const uint8_t* row(int64_t i) const { return pages[i / rowsPerPage] + i % rowsPerPage * rowBytes; }
};

struct EmbedArgs {
  int64_t T, n, d;
  View<int32_t> ids;
  In table;  // F32 | BF16 [V, d]
  Out streams;
};

struct RmsNormArgs {
  int64_t R, C;
  float eps;
  In x;
  In w;  // data null = all ones
  Out y; // may be x
};

// y[t, j*N + i] = sum_k x[t, j*K + k] * w[j*N + i, k]
struct LinearArgs {
  int64_t T, groups, K, N;
  In x;                 // A [T, groups*K]
  In w;                 // F32 | BF16 | E4M3 | E2M1 [groups*N, K]
  View<uint8_t> scale;  // E8M0: E4M3 [ceil(groups*N/128), ceil(K/128)], E2M1 [groups*N, K/32], else null
  Out y;                // A | F32 [T, groups*N]
};

constexpr int64_t kCopiesMax = 64;  // bound of n: far above any model; keeps (2 + n) * n and n * d small

struct HcPreArgs {
  int64_t T, n, d;
  float rmsEps, hcEps;
  int32_t sinkhornIters;
  In streams;
  View<float> fn, base, scale;
  Out x;
  float* post;
  float* comb;
};

struct HcPostArgs {
  int64_t T, n, d;
  In y, streams;
  View<float> post, comb;
  Out out;  // may be `streams`
};

struct HcHeadArgs {
  int64_t T, n, d;
  float rmsEps, hcEps;
  In streams;
  View<float> fn, base, scale;
  Out h;
};

struct RopeTableArgs {
  int64_t T, pairs;  // pairs = R/2
  View<int32_t> positions;
  View<float> freqs;
  float* table;  // [T, pairs, 2]
};

struct RopeArgs {
  int64_t T, h, D, pairs;
  float sign;  // +1 or -1, multiplies sin
  Out x;       // in place
  View<float> table;
};

struct KvPackArgs {
  int64_t T, nope, rope;
  ls_kv_layout layout;
  In rows;
  uint8_t* entries;
};

struct KvUnpackArgs {
  int64_t T, nope, rope;
  ls_kv_layout layout;
  const uint8_t* entries;
  float* rows;
};

struct KeyPackArgs {
  int64_t R, dim;
  ls_key_layout layout;
  In rows;
  uint8_t* keys;
};

struct KeyUnpackArgs {
  int64_t R, dim;
  ls_key_layout layout;
  const uint8_t* keys;
  float* rows;
};

struct WindowPutArgs {
  int64_t T, W, bytes, start;
  const uint8_t* entries;
  uint8_t* ring;
};

struct CompressArgs {
  int64_t T, Dc, m, start;
  bool overlap;  // width = 2*Dc and 2m slots, else Dc and m
  View<float> k, z, ape;
  float* ring;  // [slots, 2, width]: k, then z + ape (one fp32 addition)
  Out pooled;
};

// The score of key s for row i, in fp32 and in this order on every path where keys are FP4, so that `sel` has the same
// bits everywhere:
//
//   block b of 32     I_b = sum (2 q)(2 k), exact in integers
//                     c_b = (float(I_b) * u_q) * u_k   with u = 2^(scale byte - 128)
//   head h            dot = pairwise tree over blocks: neighbours (0+1), (2+3), ... are added, a block left over passes
//                     on, until one is left
//   row               score = fma(max(dot, 0), iw[i,h] * scale, score) for h = 0, 1, ... from +0; the product
//                     iw * scale is rounded to fp32
//
// max(NaN, 0) = 0 and a NaN score counts as -inf. Better = greater, or equal (+0 = -0) and lower index.
// F32 and BF16 keys: dot in the path's own order, the rest as above.
struct SelectArgs {
  int64_t T, h, dim, K, start, m;
  ls_key_layout layout;
  float scale;
  const uint8_t* iq;  // [T, h, keyBytes(layout, dim)]
  View<float> iw;
  Pages keys;
  int32_t* sel;     // [T, K] ascending, then -1
  float* scores;    // [T, S] or null; columns >= visible(i) are -inf
  int64_t S;

  __attribute__((always_inline)) int64_t visible(int64_t i) const { return (start + i + 1) / m; }
};

// Row i attends, in this order, to compressed entries ascending (those of its sel row that are >= 0, or all visible
// ones), then to window positions ascending. Its bits depend on those entries and their order alone.
struct AttentionArgs {
  int64_t T, h, nope, rope, W, K, start, first, m;
  ls_kv_layout layout;
  float scale;
  In q;
  const uint8_t* fresh;  // [T, rowBytes]
  const uint8_t* ring;   // [W, rowBytes]
  int64_t rowBytes;
  View<float> sink;
  View<int32_t> sel;  // [T, K]; null = all visible entries. The chosen ones ascend, -1 only after them
  Pages pages;        // unused if m = 0
  Out o;

  // Whether bf16 holds all queries and stored rows exactly.
  bool exactInBf16() const { return q.dtype == LS_BF16 && (layout == LS_KV_E4M3_BF16 || layout == LS_KV_BF16); }
  __attribute__((always_inline)) int64_t visible(int64_t i) const { return m > 0 ? (start + i + 1) / m : 0; }
  __attribute__((always_inline)) int64_t windowFirst(int64_t i) const { return start + i - W + 1 > first ? start + i - W + 1 : first; }
  __attribute__((always_inline)) const uint8_t* windowRow(int64_t position) const {
    return position < start ? ring + position % W * rowBytes : fresh + (position - start) * rowBytes;
  }
};

struct RouteArgs {
  int64_t T, E, k;
  float scaling;
  View<float> logits;
  View<float> bias;     // null = zeros
  View<int64_t> table;  // [V, k]; with ids, else null: top-k
  View<int32_t> ids;
  int32_t* idx;  // ascending
  float* weights;
};

struct Expert {
  In w1, w3, w2;                // [I, d], [I, d], [d, I]
  View<uint8_t> s1, s3, s2;     // as in LinearArgs
};

struct ExpertsArgs {
  int64_t T, k, d, I, count;
  float limit;
  In x;
  View<int32_t> idx;    // [T, k] ascending per row; null = expert 0 with weight 1 (k = 1)
  View<float> weights;  // [T, k]
  const Expert* experts;  // [count]; only those named by idx are filled in. All have the same dtype
  float* y;               // [T, d]
};

// y[i] = a[i] + b[i / repeat]
struct AddArgs {
  int64_t R, C, repeat;
  In a, b;
  Out y;  // may be a
};

struct GatherArgs {
  int64_t N, rowBytes;
  const uint8_t* x;
  View<int32_t> rows;
  uint8_t* y;
};

struct CastArgs {
  int64_t count;
  In x;
  Out y;
};

}  // namespace longshore::cpu
