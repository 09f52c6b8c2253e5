// Index scores of a block of queries against a block of keys (the order is that of SelectArgs): sixteen keys in the lanes.
// One scorer for FP4 keys, which are multiplied as integers, and one for plain keys, which are dot products of the path.
#pragma once

#include "gemm.h"
#include "stored.h"

namespace longshore::cpu::LONGSHORE_PATH {

static constexpr int64_t kKeys = 256;       // of a block
static constexpr int64_t kKeyQueries = 32;  // of a block
static constexpr int32_t kBias = 12;        // makes twice an E2M1 value unsigned

// Twice the values of E2M1, plain for queries and with the bias for keys.
static constexpr int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
static constexpr int8_t kBiased[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

// 2^(byte - 128)
LONGSHORE_INLINE float halfScale(uint8_t byte) { return fromBits(static_cast<uint32_t>(kScales.bits[byte])) * 0.5f; }

class Fp4Scorer {
 public:
  Fp4Scorer(Carver& c, const SelectArgs& a)
      : a_(a),
        blocks_(a.dim / kKeyBlock),
        columns_(c.take<uint8_t>(kKeys * a.dim)),
        keyScales_(c.take<float>(kKeys * blocks_)),
        queries_(c.take<int8_t>(kKeyQueries * a.h * a.dim)),
        queryScales_(c.take<float>(kKeyQueries * a.h * blocks_)),
        corrections_(c.take<int32_t>(kKeyQueries * a.h * blocks_)) {}

  void loadQuery(int64_t i, int64_t row) {
    for (int64_t head = 0; head < a_.h; head++) {
      const uint8_t* q = a_.iq + (row * a_.h + head) * keyBytes(a_.layout, a_.dim);
      for (int64_t b = 0; b < blocks_; b++) {
        const int64_t at = (i * a_.h + head) * blocks_ + b;
        lookUp(kDoubled, q + b * 16, queries_ + at * kKeyBlock);
        queryScales_[at] = halfScale(q[a_.dim / 2 + b]);
        int32_t sum = 0;
        for (int64_t k = 0; k < kKeyBlock; k++) sum += queries_[at * kKeyBlock + k];
        corrections_[at] = -kBias * sum;
      }
    }
  }

  // Key `at` of the block: 4 bytes of sixteen keys side by side, scales too.
  void loadKey(int64_t at, const uint8_t* key) {
    const int64_t group = at / kLanes, lane = at % kLanes;
    for (int64_t b = 0; b < blocks_; b++) {
      int8_t bytes[kKeyBlock];
      lookUp(kBiased, key + b * 16, bytes);
      uint8_t* columns = columns_ + (group * blocks_ + b) * kKeyBlock * kLanes + lane * 4;
      for (int64_t g = 0; g < kKeyBlock / 4; g++) std::memcpy(columns + g * 4 * kLanes, bytes + 4 * g, 4);
      keyScales_[(group * blocks_ + b) * kLanes + lane] = halfScale(key[a_.dim / 2 + b]);
    }
  }

  void begin(int64_t, int64_t) {}

  // The scores of query i and sixteen keys; weights: iw * scale per head.
  LONGSHORE_MEMBER V score(int64_t i, int64_t group, const float* weights) const {
    return blocks_ == 4 ? scoreBlocks<4>(i, group, weights) : scoreBlocks<0>(i, group, weights);
  }

 private:
  static constexpr int kHeads = 4;

  template <int fixed>
  LONGSHORE_MEMBER V scoreBlocks(int64_t i, int64_t group, const float* weights) const {
    V score = zero();
    int64_t head = 0;
    for (; head + kHeads <= a_.h; head += kHeads) score = addHeads<fixed, kHeads>(i * a_.h + head, group, weights + head, score);
    for (; head < a_.h; head++) score = addHeads<fixed, 1>(i * a_.h + head, group, weights + head, score);
    return score;
  }

  template <int fixed, int H>
  LONGSHORE_MEMBER V addHeads(int64_t row, int64_t group, const float* weights, V score) const {
    V dots[H];
    if constexpr (fixed == 4) {
      V parts[4][H];
      LONGSHORE_UNROLL for (int b = 0; b < 4; b++) blockDots<H>(row, group, b, parts[b]);
      LONGSHORE_UNROLL for (int h = 0; h < H; h++) dots[h] = add(add(parts[0][h], parts[1][h]), add(parts[2][h], parts[3][h]));
    } else {
      pairwise<H>(row, group, 0, blocks_, dots);
    }
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) score = fma(max(dots[h], zero()), set(weights[h]), score);
    return score;
  }

  template <int H>
  LONGSHORE_MEMBER void blockDots(int64_t row, int64_t group, int64_t b, V (&parts)[H]) const {
    I sums[H];
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) sums[h] = setInt(corrections_[(row + h) * blocks_ + b]);
    byteDots<H>(columns_ + (group * blocks_ + b) * kKeyBlock * kLanes, queries_ + row * a_.dim + b * kKeyBlock, a_.dim, sums);
    const V scale = load(keyScales_ + (group * blocks_ + b) * kLanes);
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) parts[h] = mul(mul(toFloat(sums[h]), set(queryScales_[(row + h) * blocks_ + b])), scale);
  }

  // Neighbours added, a block left over passes on: splitting behind the largest power of two below n gives the same tree.
  template <int H>
  void pairwise(int64_t row, int64_t group, int64_t b, int64_t n, V (&dots)[H]) const {
    if (n == 1) return blockDots<H>(row, group, b, dots);
    int64_t left = 1;
    while (2 * left < n) left *= 2;
    V right[H];
    pairwise<H>(row, group, b, left, dots);
    pairwise<H>(row, group, b + left, n - left, right);
    for (int h = 0; h < H; h++) dots[h] = add(dots[h], right[h]);
  }

  const SelectArgs& a_;
  int64_t blocks_;
  uint8_t* columns_;     // [kKeys / 16, blocks, 8, 16, 4]
  float* keyScales_;     // [kKeys / 16, blocks, 16]
  int8_t* queries_;      // [kKeyQueries, h, dim]
  float* queryScales_;   // [kKeyQueries, h, blocks]
  int32_t* corrections_; // what the bias of the keys adds, negated
};

class PlainScorer {
 public:
  PlainScorer(Carver& c, const SelectArgs& a)
      : a_(a),
        D_(padded(a.dim)),
        headRows_(blocksOf(a.h, kTileM) * kTileM),
        stride_(kKeys + kTileSlack),
        keys_(c.take<float>((kKeys + kTileSlack) * D_)),
        queries_(c.take<float>(kKeyQueries * headRows_ * D_)),
        dots_(c.take<float>(headRows_ * stride_ + kLanes)) {}

  void loadQuery(int64_t i, int64_t row) {
    for (int64_t r = 0; r < headRows_; r++) unpack(a_.iq + (row * a_.h + minOf(r, a_.h - 1)) * keyBytes(a_.layout, a_.dim), queries_ + (i * headRows_ + r) * D_);
  }
  void loadKey(int64_t at, const uint8_t* key) { unpack(key, keys_ + at * D_); }

  // Before the scores of query i against the first `count` keys.
  void begin(int64_t i, int64_t count) {
    for (int64_t r = 0; r < headRows_; r += kTileM) {
      const float* rows[kTileM];
      for (int m = 0; m < kTileM; m++) rows[m] = queries_ + (i * headRows_ + r + m) * D_;
      multiplyRows(rows, keys_, count, D_, dots_ + r * stride_, stride_);
    }
  }

  LONGSHORE_MEMBER V score(int64_t, int64_t group, const float* weights) const {
    V score = zero();
    for (int64_t head = 0; head < a_.h; head++) score = fma(max(load(dots_ + head * stride_ + group * kLanes), zero()), set(weights[head]), score);
    return score;
  }

 private:
  void unpack(const uint8_t* key, float* row) {
    for (int64_t k = a_.dim; k < D_; k++) row[k] = 0.0f;
    unpackKey(a_.layout, a_.dim, key, row);
  }

  const SelectArgs& a_;
  int64_t D_, headRows_, stride_;
  float* keys_;     // [kKeys, D]
  float* queries_;  // [kKeyQueries, headRows, D]
  float* dots_;     // [headRows, kKeys]
};

}  // namespace longshore::cpu::LONGSHORE_PATH
