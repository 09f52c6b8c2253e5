// FP4 rows as one block of integers. The blocks of a row mostly have scales within three bits of each other (a Hadamard
// transform came before), and twice an E2M1 value is at most 12. Shifted left by as many bits as its block's scale is
// above the row's smallest, it still is a byte. Such a row is level. The dot product of two level rows is one sum of
// integers instead of one for each block, with one scale:
//
//   dot = float(I) * u_q * u_k   u: of the smallest scales; |I| <= 96 * 96 * dim < 2^24, so that the tree over blocks
//                                (SelectArgs) is exact too
//
// All heads share u_k, and u_q goes into the head's weight: powers of two commute with rounding where nothing is
// denormal or infinite, for which scales and weights must be moderate. What is not level or not moderate is scored
// block by block: the bits are the same.
#pragma once

#include "keys.h"

namespace longshore::cpu::LONGSHORE_PATH {

static constexpr int64_t kLevelDim = 1024;  // 1792 is the most that keeps the sum below 2^24
static constexpr int64_t kLevelHeads = 32;  // of a call, at least: fewer save less than making keys level costs (break-even is about 20 on Zen 4)
static constexpr int32_t kLevelBits = 3;    // between the scales of a row
static constexpr int32_t kScaleBits = 32;   // from a scale to 1, either way
static constexpr int32_t kLevelBias = 128;  // makes a byte of a level row unsigned

LONGSHORE_INLINE bool paysToLevel(const SelectArgs& a) { return a.layout == LS_KEY_FP4 && a.dim <= kLevelDim && a.T * a.h >= kLevelHeads; }

LONGSHORE_INLINE bool isLevel(int32_t low, int32_t high) { return high - low <= kLevelBits && low >= 128 - kScaleBits && high <= 128 + kScaleBits; }
LONGSHORE_INLINE bool isModerate(float weight) {
  const float size = __builtin_fabsf(weight);
  return size >= 0x1p-40f && size <= 0x1p40f;
}

// The level queries of a task and the level keys of a block. `unit`: rows are filled up with zeros to a multiple of
// this many bytes. `bias`: 0 or kLevelBias, added to the bytes of keys.
class LevelRows {
 public:
  LevelRows(Carver& c, const SelectArgs& a, int64_t queries, int64_t keys, int64_t unit, int32_t bias)
      : a_(a),
        blocks_(a.dim / kKeyBlock),
        rowBytes_(blocksOf(a.dim, unit) * unit),
        bias_(bias),
        queries_(c.take<int8_t>((queries * a.h + kLanes) * rowBytes_)),
        weights_(c.take<float>(queries * a.h)),
        queryLevel_(c.take<bool>(queries)),
        columns_(c.take<uint8_t>(keys * rowBytes_)),
        scales_(c.take<float>(keys)),
        groupLevel_(c.take<bool>(keys / kLanes)) {}

  // Row `row` of the call becomes query i, with weights[h] for its heads.
  // Returns whether it is level, with moderate weights.
  bool loadQuery(int64_t i, int64_t row, const float* weights) {
    bool level = true;
    for (int64_t head = 0; head < a_.h && level; head++) level = loadHead(i * a_.h + head, a_.iq + (row * a_.h + head) * keyBytes(a_.layout, a_.dim), weights[head]);
    return queryLevel_[i] = level;
  }

  // Loads sixteen keys of the block, 4 bytes of each side by side. Returns whether all are level.
  bool loadKeys(int64_t group, const uint8_t* const (&keys)[kLanes]) {
    int32_t steps[kLevelDim / kKeyBlock][kLanes], low[kLanes], high[kLanes];
    for (int64_t l = 0; l < kLanes; l++) low[l] = 255, high[l] = 0;
    for (int64_t b = 0; b < blocks_; b++) {
      for (int64_t l = 0; l < kLanes; l++) steps[b][l] = keys[l][a_.dim / 2 + b];
      for (int64_t l = 0; l < kLanes; l++) low[l] = steps[b][l] < low[l] ? steps[b][l] : low[l];
      for (int64_t l = 0; l < kLanes; l++) high[l] = steps[b][l] > high[l] ? steps[b][l] : high[l];
    }
    bool level = true;
    for (int64_t l = 0; l < kLanes; l++) level &= isLevel(low[l], high[l]);
    groupLevel_[group] = level;
    if (!level) return false;
    for (int64_t l = 0; l < kLanes; l++) scales_[group * kLanes + l] = halfScale(static_cast<uint8_t>(low[l]));
    for (int64_t b = 0; b < blocks_; b++) {
      uint8_t* to = columns_ + group * kLanes * rowBytes_ + b * kKeyBlock * kLanes;
      lookUpColumns(kBiased, keys, b * 16, to);
      for (int64_t l = 0; l < kLanes; l++) steps[b][l] -= low[l];
      raise(load(steps[b]), to);
    }
    return true;
  }

  int64_t rowBytes() const { return rowBytes_; }
  bool isQueryLevel(int64_t i) const { return queryLevel_[i]; }
  bool isGroupLevel(int64_t group) const { return groupLevel_[group]; }
  // The rows from one head of one query on; sixteen rows past the last may be read.
  const int8_t* heads(int64_t row) const { return queries_ + row * rowBytes_; }
  // For the same rows: iw * scale times the scale of the row.
  const float* weights(int64_t row) const { return weights_ + row; }
  const uint8_t* columns(int64_t group) const { return columns_ + group * kLanes * rowBytes_; }
  V scales(int64_t group) const { return load(scales_ + group * kLanes); }

 private:
  bool loadHead(int64_t at, const uint8_t* q, float weight) {
    const uint8_t* scales = q + a_.dim / 2;
    int32_t low = 255, high = 0;
    for (int64_t b = 0; b < blocks_; b++) {
      low = scales[b] < low ? scales[b] : low;
      high = scales[b] > high ? scales[b] : high;
    }
    weights_[at] = weight * halfScale(static_cast<uint8_t>(low));
    if (!isLevel(low, high) || !(weight == 0.0f || isModerate(weights_[at]))) return false;  // a product of 0 alone may be one that underflowed
    int8_t* to = queries_ + at * rowBytes_;
    for (int64_t b = 0; b < blocks_; b++, to += kKeyBlock) {
      lookUp(kDoubled, q + b * 16, to);
      const int32_t factor = 1 << (scales[b] - low);
      for (int64_t k = 0; k < kKeyBlock; k++) to[k] = static_cast<int8_t>(to[k] * factor);
    }
    std::memset(to, 0, static_cast<size_t>(rowBytes_ - a_.dim));
    return true;
  }

  // Shifts the bytes of one block left by steps[lane] bits. With their bias they are unsigned and stay bytes; then they
  // get the bias they are to have.
  LONGSHORE_MEMBER void raise(I steps, uint8_t* to) const {
    constexpr auto inAll = [](uint32_t byte) { return static_cast<int32_t>(byte * 0x01010101u); };
    const I negative = addInt(xorInt(shiftLeft(setInt(inAll(kBias)), steps), setInt(-1)), setInt(1));
    const I more = addInt(setInt(inAll(kLevelBias)), negative), flip = setInt(bias_ == 0 ? inAll(kLevelBias) : 0);
    for (int64_t k = 0; k < kKeyBlock; k += 4) {
      auto* words = reinterpret_cast<int32_t*>(to + k * kLanes);
      store(words, xorInt(addInt(shiftLeft(load(words), steps), more), flip));
    }
  }

  const SelectArgs& a_;
  int64_t blocks_, rowBytes_;
  int32_t bias_;
  int8_t* queries_;   // [queries, h, rowBytes]
  float* weights_;    // [queries, h]
  bool* queryLevel_;  // [queries]
  uint8_t* columns_;  // [keys / 16, rowBytes / 4, 16, 4]
  float* scales_;     // [keys]
  bool* groupLevel_;  // [keys / 16]
};

// `Products` multiplies level rows; what is not level goes to the block scorer.
// `fixed`: blocks of a key if known, else 0.
template <class Products, int fixed>
class LevelScorer {
 public:
  static constexpr int64_t kKeys = Products::kKeys;
  static constexpr int kAtOnce = Products::kAtOnce;
  using Setup = typename Products::Setup;
  static int64_t queriesOf(const SelectArgs& a) { return Products::queriesOf(a); }

  LevelScorer(Carver& c, const SelectArgs& a)
      : a_(a), rows_(c, a, queriesOf(a), kKeys, Products::kUnit, Products::kBias), products_(c, a), blocks_(c, a, queriesOf(a)) {}

  void loadQueries(int64_t row0, int64_t count, const float* weights) {
    allLevel_ = true;
    for (int64_t i = 0; i < count; i++) allLevel_ &= rows_.loadQuery(i, row0 + i, weights + i * a_.h);
    blocks_.loadQueries(row0, count, weights);
    products_.loadQueries(rows_, count);
  }
  void loadKeys(int64_t group, const uint8_t* const (&keys)[kLanes]) {
    const bool level = rows_.loadKeys(group, keys);
    if (!level || !allLevel_) blocks_.loadKeys(group, keys);
  }

  int64_t together() const { return products_.together(); }
  void begin(int64_t i, int64_t n, int64_t keys) { products_.begin(rows_, i, n, keys); }

  template <int G>
  LONGSHORE_MEMBER void score(int64_t i, int64_t group, const float* weights, V (&scores)[G]) const {
    bool level = rows_.isQueryLevel(i);
    for (int g = 0; g < G; g++) level &= rows_.isGroupLevel(group + g);
    if (!level) return scoreApart(i, group, weights, scores);
    LONGSHORE_UNROLL for (int g = 0; g < G; g++) scores[g] = zero();
    int64_t head = 0;
    for (; head + kHeads <= a_.h; head += kHeads) addHeads<kHeads>(i * a_.h + head, group, scores);
    for (; head < a_.h; head++) addHeads<1>(i * a_.h + head, group, scores);
    LONGSHORE_UNROLL for (int g = 0; g < G; g++) scores[g] = mul(scores[g], rows_.scales(group + g));
  }

 private:
  static constexpr int kHeads = 4;

  template <int H, int G>
  LONGSHORE_MEMBER void addHeads(int64_t row, int64_t group, V (&scores)[G]) const {
    I dots[G][H];
    products_.template dots<fixed>(rows_, row, group, dots);
    const float* weights = rows_.weights(row);
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
      LONGSHORE_UNROLL for (int g = 0; g < G; g++) scores[g] = fma(max(toFloat(dots[g][h]), zero()), set(weights[h]), scores[g]);
    }
  }

  // Not everything is level: group by group.
  template <int G>
  __attribute__((noinline)) void scoreApart(int64_t i, int64_t group, const float* weights, V (&scores)[G]) const {
    for (int g = 0; g < G; g++) {
      V one[1];
      if constexpr (G > 1) score(i, group + g, weights, one);
      else blocks_.score(i, group, weights, one);
      scores[g] = one[0];
    }
  }

  const SelectArgs& a_;
  LevelRows rows_;
  Products products_;
  Fp4Scorer<fixed> blocks_;
  bool allLevel_ = false;
};

// Sums of level rows by byteDots.
class ByteProducts {
 public:
  static constexpr int64_t kKeys = kBlockKeys, kUnit = kKeyBlock;
  static constexpr int kAtOnce = kGroups;
  static constexpr int32_t kBias = kLevelBias;
  using Setup = Nothing;
  static int64_t queriesOf(const SelectArgs&) { return kBlockQueries; }

  ByteProducts(Carver& c, const SelectArgs& a) : a_(a), corrections_(c.take<int32_t>(kBlockQueries * a.h)) {}

  void loadQueries(const LevelRows& rows, int64_t count) {
    for (int64_t row = 0; row < count * a_.h; row++) {
      if (!rows.isQueryLevel(row / a_.h)) continue;  // not all of its heads were loaded
      int32_t sum = 0;
      for (int64_t k = 0; k < a_.dim; k++) sum += rows.heads(row)[k];
      corrections_[row] = -kBias * sum;
    }
  }
  int64_t together() const { return 1; }
  void begin(const LevelRows&, int64_t, int64_t, int64_t) {}

  template <int fixed, int H, int G>
  LONGSHORE_MEMBER void dots(const LevelRows& rows, int64_t row, int64_t group, I (&sums)[G][H]) const {
    LONGSHORE_UNROLL for (int h = 0; h < H; h++) {
      const I correction = setInt(corrections_[row + h]);
      LONGSHORE_UNROLL for (int g = 0; g < G; g++) sums[g][h] = correction;
    }
    const int64_t rowBytes = fixed > 0 ? fixed * kKeyBlock : rows.rowBytes();
    const uint8_t* columns = rows.columns(group);
    const int8_t* heads = rows.heads(row);
    for (int64_t k = 0; k < rowBytes; k += kKeyBlock) byteDots<H>(columns + k * kLanes, rowBytes * kLanes, heads + k, rowBytes, sums);
  }

 private:
  const SelectArgs& a_;
  int32_t* corrections_;  // what the bias of the keys adds, negated
};

}  // namespace longshore::cpu::LONGSHORE_PATH
