// Index scores of a block of queries against a block of keys, with sixteen keys in the lanes. The order is that of
// SelectArgs; selection.h says what a scorer has. There is one scorer for FP4 keys, which are multiplied as integers,
// and one for plain keys, which takes the path's dot products.
#pragma once

#include "gemm.h"
#include "selection.h"
#include "stored.h"

namespace longshore::cpu::LONGSHORE_PATH {

static constexpr int64_t kBlockKeys = 128;    // their bytes stay in the L1 cache
static constexpr int64_t kBlockQueries = 32;
static constexpr int32_t kBias = 12;        // makes twice an E2M1 value unsigned

// Twice the values of E2M1: plain for queries, with the bias for keys.
static constexpr int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
static constexpr int8_t kBiased[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

// 2^(byte - 128)
LONGSHORE_INLINE float halfScale(uint8_t byte) { return fromBits(static_cast<uint32_t>(kScales.bits[byte])) * 0.5f; }

// `fixed`: blocks of a key if known, else 0.
template <int fixed>
class Fp4Scorer {
 public:
  static constexpr int64_t kKeys = kBlockKeys;
  static constexpr int kAtOnce = kGroups;
  using Setup = Nothing;
  static int64_t queriesOf(const SelectArgs&) { return kBlockQueries; }

  Fp4Scorer(Carver& c, const SelectArgs& a) : Fp4Scorer(c, a, kBlockQueries) {}
  Fp4Scorer(Carver& c, const SelectArgs& a, int64_t queries)
      : a_(a),
        blocks_(a.dim / kKeyBlock),
        columns_(c.take<uint8_t>(kKeys * a.dim)),
        keyScales_(c.take<float>(kKeys * blocks_)),
        queries_(c.take<int8_t>(queries * a.h * a.dim)),
        queryScales_(c.take<float>(queries * a.h * blocks_)),
        corrections_(c.take<int32_t>(queries * a.h * blocks_)) {}

  void loadQueries(int64_t row0, int64_t count, const float*) {
    for (int64_t i = 0; i < count; i++) loadQuery(i, row0 + i);
  }
  void loadQuery(int64_t i, int64_t row) {
    for (int64_t head = 0; head < a_.h; head++) {
      const uint8_t* q = a_.iq + (row * a_.h + head) * keyBytes(a_.layout, a_.dim);
      for (int64_t b = 0; b < blocks(); b++) {
        const int64_t at = (i * a_.h + head) * blocks() + b;
        lookUp(kDoubled, q + b * 16, queries_ + at * kKeyBlock);
        queryScales_[at] = halfScale(q[dim() / 2 + b]);
        int32_t sum = 0;
        for (int64_t k = 0; k < kKeyBlock; k++) sum += queries_[at * kKeyBlock + k];
        corrections_[at] = -kBias * sum;
      }
    }
  }

  // Loads sixteen keys of the block: 4 bytes of each side by side, and their scales.
  void loadKeys(int64_t group, const uint8_t* const (&keys)[kLanes]) {
    for (int64_t b = 0; b < blocks(); b++) {
      lookUpColumns(kBiased, keys, b * 16, columns_ + (group * blocks() + b) * kColumnBytes);
      float* scales = keyScales_ + (group * blocks() + b) * kLanes;
      for (int64_t lane = 0; lane < kLanes; lane++) scales[lane] = halfScale(keys[lane][dim() / 2 + b]);
    }
  }

  int64_t together() const { return 1; }
  void begin(int64_t, int64_t, int64_t) {}

  // The scores of query i against G times sixteen keys; `weights`: iw * scale per head.
  template <int G>
  LONGSHORE_MEMBER void score(int64_t i, int64_t group, const float* weights, V (&scores)[G]) const {
    LONGSHORE_UNROLL for (int g = 0; g < G; g++) scores[g] = zero();
    int64_t head = 0;
    for (; head + kHeads <= a_.h; head += kHeads) addHeads<kHeads>(i * a_.h + head, group, weights + head, scores);
    for (; head < a_.h; head++) addHeads<1>(i * a_.h + head, group, weights + head, scores);
  }

 private:
  LONGSHORE_MEMBER int64_t blocks() const { return fixed > 0 ? fixed : blocks_; }
  LONGSHORE_MEMBER int64_t dim() const { return blocks() * kKeyBlock; }

  static constexpr int kHeads = 4;
  static constexpr int64_t kColumnBytes = kKeyBlock * kLanes;

  template <int H, int G>
  LONGSHORE_MEMBER void addHeads(int64_t row, int64_t group, const float* weights, V (&scores)[G]) const {
    V dots[G][H];
    if constexpr (fixed == 4) {
      V right[G][H];
      twoBlocks(row, group, 0, dots);
      twoBlocks(row, group, 2, right);
      addTo(dots, right);
    } else {
      pairwise(row, group, 0, blocks(), dots);
    }
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
      LONGSHORE_UNROLL for (int g = 0; g < G; g++) scores[g] = fma(max(dots[g][h], zero()), set(weights[h]), scores[g]);
    }
  }

  template <int G, int H>
  LONGSHORE_MEMBER void blockDots(int64_t row, int64_t group, int64_t b, V (&parts)[G][H]) const {
    I sums[G][H];
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
      const I correction = setInt(corrections_[(row + h) * blocks() + b]);
      LONGSHORE_UNROLL for (int g = 0; g < G; g++) sums[g][h] = correction;
    }
    const uint8_t* columns = columns_ + (group * blocks() + b) * kColumnBytes;
    const float* scales = keyScales_ + (group * blocks() + b) * kLanes;
    __asm__("" : "+r"(columns), "+r"(scales));  // else GCC reads all columns before the first head, into registers that it does not have
    byteDots<H>(columns, blocks() * kColumnBytes, queries_ + row * dim() + b * kKeyBlock, dim(), sums);
    LONGSHORE_UNROLL for (int g = 0; g < G; g++) {
      const V scale = load(scales + g * blocks() * kLanes);
      LONGSHORE_UNROLL for (int h = 0; h < H; h++) parts[g][h] = mul(mul(toFloat(sums[g][h]), set(queryScales_[(row + h) * blocks() + b])), scale);
    }
  }

  template <int G, int H>
  LONGSHORE_MEMBER static void addTo(V (&dots)[G][H], const V (&right)[G][H]) {
    LONGSHORE_UNROLL for (int g = 0; g < G; g++) {
      LONGSHORE_UNROLL for (int h = 0; h < H; h++) dots[g][h] = add(dots[g][h], right[g][h]);
    }
  }

  template <int G, int H>
  LONGSHORE_MEMBER void twoBlocks(int64_t row, int64_t group, int64_t b, V (&dots)[G][H]) const {
    V right[G][H];
    blockDots(row, group, b, dots);
    blockDots(row, group, b + 1, right);
    addTo(dots, right);
  }

  // Adds neighbours; a block left over passes on. Splitting at the largest power of two below n gives the same tree.
  template <int G, int H>
  void pairwise(int64_t row, int64_t group, int64_t b, int64_t n, V (&dots)[G][H]) const {
    if (n == 1) return blockDots(row, group, b, dots);
    int64_t left = 1;
    while (2 * left < n) left *= 2;
    V right[G][H];
    pairwise(row, group, b, left, dots);
    pairwise(row, group, b + left, n - left, right);
    addTo(dots, right);
  }

  const SelectArgs& a_;
  int64_t blocks_;
  uint8_t* columns_;     // [keys / 16, blocks, 8, 16, 4]
  float* keyScales_;     // [keys / 16, blocks, 16]
  int8_t* queries_;      // [queries, h, dim]
  float* queryScales_;   // [queries, h, blocks]
  int32_t* corrections_; // what the bias of the keys adds, negated
};

class PlainScorer {
 public:
  static constexpr int64_t kKeys = kBlockKeys;
  static constexpr int kAtOnce = kGroups;
  using Setup = Nothing;
  static int64_t queriesOf(const SelectArgs&) { return kBlockQueries; }

  PlainScorer(Carver& c, const SelectArgs& a)
      : a_(a),
        D_(padded(a.dim)),
        headRows_(blocksOf(a.h, kTileM) * kTileM),
        stride_(kKeys + kTileSlack),
        keys_(c.take<float>((kKeys + kTileSlack) * D_)),
        queries_(c.take<float>(kBlockQueries * headRows_ * D_)),
        dots_(c.take<float>(headRows_ * stride_ + kLanes)) {}

  void loadQueries(int64_t row0, int64_t count, const float*) {
    for (int64_t i = 0; i < count; i++) {
      for (int64_t r = 0; r < headRows_; r++) unpack(a_.iq + ((row0 + i) * a_.h + minOf(r, a_.h - 1)) * keyBytes(a_.layout, a_.dim), queries_ + (i * headRows_ + r) * D_);
    }
  }
  void loadKeys(int64_t group, const uint8_t* const (&keys)[kLanes]) {
    for (int64_t lane = 0; lane < kLanes; lane++) unpack(keys[lane], keys_ + (group * kLanes + lane) * D_);
  }

  int64_t together() const { return 1; }
  void begin(int64_t i, int64_t, int64_t count) {
    for (int64_t r = 0; r < headRows_; r += kTileM) {
      const float* rows[kTileM];
      for (int m = 0; m < kTileM; m++) rows[m] = queries_ + (i * headRows_ + r + m) * D_;
      multiplyRows(rows, keys_, count, D_, dots_ + r * stride_, stride_);
    }
  }

  template <int G>
  LONGSHORE_MEMBER void score(int64_t, int64_t group, const float* weights, V (&scores)[G]) const {
    for (int g = 0; g < G; g++) {
      scores[g] = zero();
      const float* dots = dots_ + (group + g) * kLanes;
      for (int64_t head = 0; head < a_.h; head++) scores[g] = fma(max(load(dots + head * stride_), zero()), set(weights[head]), scores[g]);
    }
  }

 private:
  void unpack(const uint8_t* key, float* row) {
    for (int64_t k = a_.dim; k < D_; k++) row[k] = 0.0f;
    unpackKey(a_.layout, a_.dim, key, row);
  }

  const SelectArgs& a_;
  int64_t D_, headRows_, stride_;
  float* keys_;     // [keys, D]
  float* queries_;  // [queries, headRows, D]
  float* dots_;     // [headRows, keys]
};

}  // namespace longshore::cpu::LONGSHORE_PATH
