// The K best of a stream of scores that comes in ascending index: a buffer that is cut back to K whenever it is full.
// Later scores must beat the K-th best strictly, so among equals the lower index stays; what is kept always ascends.
#pragma once

#include "memory.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Scores as integers of the same order; equal scores must have equal bits (canonicalScore).
LONGSHORE_INLINE I rankOf(V score) {
  const I b = bits(score);
  return xorInt(b, andInt(shiftRight<31>(b), setInt(INT32_MAX)));
}

// A NaN becomes -inf, -0 becomes +0.
LONGSHORE_INLINE V canonicalScore(V score) { return add(max(score, set(-__builtin_inff())), zero()); }

class Best {
 public:
  static int64_t capacity(int64_t K) { return padded(2 * K + 4 * kLanes); }

  Best() = default;
  // Space for `capacity` ranks and indices.
  Best(int64_t K, int32_t* ranks, int32_t* indices) : K_(K), ranks_(ranks), indices_(indices) {}

  // Offers sixteen scores of the indices first, first + 1, ...; only those in `mask` count.
  LONGSHORE_MEMBER void offer(V scores, int32_t first, uint32_t mask) {
    const I ranks = rankOf(scores);
    mask &= moreThan(ranks, setInt(floor_));
    if (mask != 0) append(ranks, first, mask);
  }

  // Offers what `other` kept; all its indices come after those offered so far.
  void offer(const Best& other) {
    for (int64_t i = 0; i < other.count_; i += kLanes) {
      const int64_t lanes = minOf(kLanes, other.count_ - i);
      if (count_ + kLanes > capacity(K_)) cut();
      for (int64_t l = i; l < i + lanes; l++) {
        if (other.ranks_[l] <= floor_) continue;
        ranks_[count_] = other.ranks_[l];
        indices_[count_++] = other.indices_[l];
      }
    }
  }

  // Writes the best min(K, offered) indices, ascending. Returns how many.
  int64_t finish(int32_t* to) {
    cut();
    for (int64_t i = 0; i < count_; i++) to[i] = indices_[i];
    return count_;
  }

 private:
  __attribute__((noinline)) void append(I ranks, int32_t first, uint32_t mask) {
    int32_t lanes[kLanes];
    store(lanes, ranks);
    if (count_ + kLanes > capacity(K_)) cut();
    for (; mask != 0; mask &= mask - 1) {
      const int lane = __builtin_ctz(mask);
      ranks_[count_] = lanes[lane];
      indices_[count_++] = first + lane;
    }
  }

  // Keeps the K best in order.
  void cut() {
    if (count_ <= K_ || K_ == 0) {
      count_ = minOf(count_, K_);
      return;
    }
    floor_ = kthRank();
    int64_t equals = K_ - countAbove(floor_), kept = 0;
    for (int64_t i = 0; i < count_; i++) {
      if (ranks_[i] < floor_ || (ranks_[i] == floor_ && equals-- <= 0)) continue;
      ranks_[kept] = ranks_[i];
      indices_[kept++] = indices_[i];
    }
    count_ = kept;
  }

  int64_t countAbove(int32_t rank) const {
    int64_t above = 0;
    for (int64_t i = 0; i < count_; i += kLanes) {
      const uint32_t valid = count_ - i >= kLanes ? 0xFFFFu : (1u << (count_ - i)) - 1u;
      above += __builtin_popcount(moreThan(load(ranks_ + i), setInt(rank)) & valid);
    }
    return above;
  }

  // The smallest rank that fewer than K are above. It is one of those present:
  // if these are few, each is tried, else bisection finds it.
  int32_t kthRank() const {
    if (count_ <= kFew) {
      int32_t rank = INT32_MAX;
      for (int64_t i = 0; i < count_; i++) {
        if (ranks_[i] < rank && countAbove(ranks_[i]) < K_) rank = ranks_[i];
      }
      return rank;
    }
    int64_t low = floor_, high = INT32_MAX;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (countAbove(static_cast<int32_t>(middle)) < K_) high = middle;
      else low = middle + 1;
    }
    return static_cast<int32_t>(low);
  }

  static constexpr int64_t kFew = 32;  // steps of a bisection

  int64_t K_ = 0, count_ = 0;
  int32_t floor_ = INT32_MIN;  // what is not above it cannot be among the best
  int32_t* ranks_ = nullptr;
  int32_t* indices_ = nullptr;
};

}  // namespace longshore::cpu::LONGSHORE_PATH
