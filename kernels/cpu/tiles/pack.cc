#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

LONGSHORE_INLINE void packTerm(const P (&rows)[kTile], Bf16* to) {
  V lanes[kTile];
  LONGSHORE_UNROLL for (int i = 0; i < kTile; i++) lanes[i] = lanesOf(rows[i]);
  transpose(lanes);
  LONGSHORE_UNROLL for (int i = 0; i < kTile; i++) std::memcpy(to + i * kStep, &lanes[i], sizeof lanes[i]);
}

void packStep(const PlainRow<Bf16> (&rows)[kTile], int64_t k, int64_t K, Bf16* to) {
  P pairs[kTile];
  for (int i = 0; i < kTile; i++) pairs[i] = vectorAt(rows[i], k, K, to);
  packTerm(pairs, to);
}

void packStep(const PlainRow<float> (&rows)[kTile], int64_t k, int64_t K, Bf16* to) {
  P pairs[kTerms<float>][kTile];
  for (int i = 0; i < kTile; i++) {
    V low = lanesAt(rows[i], k, K - k), high = lanesAt(rows[i], k + kLanes, K - k - kLanes);
    for (int term = 0; term < kTerms<float>; term++) {
      pairs[term][i] = pairsOf(low, high);
      low = sub(low, rounded<Bf16>(low));
      high = sub(high, rounded<Bf16>(high));
    }
  }
  for (int term = 0; term < kTerms<float>; term++) packTerm(pairs[term], to + term * kTileHalves);
}

}  // namespace

template <class E>
void packRows(const E* const (&rows)[kTile], int64_t K, Bf16* packed) {
  PlainRow<E> plain[kTile];
  for (int i = 0; i < kTile; i++) plain[i].w = rows[i];
  for (int64_t k = 0; k < K; k += kStep) packStep(plain, k, K, packed + k / kStep * kTerms<E> * kTileHalves);
}

template void packRows(const float* const (&)[kTile], int64_t, Bf16*);
template void packRows(const Bf16* const (&)[kTile], int64_t, Bf16*);

}  // namespace longshore::cpu::LONGSHORE_PATH
