// What one core of this machine can do: fused multiply-adds in registers, with the widest vectors it has.
#pragma once

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace longshore::bench {

constexpr long kRounds = 1'000'000;
constexpr int kChains = 12;  // enough to hide the latency

#if defined(__x86_64__)
__attribute__((target("avx512f"))) inline double roundsAvx512() {
  __m512 acc[kChains] = {}, x = _mm512_set1_ps(0.5f);
  for (long i = 0; i < kRounds; i++) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; c++) __asm__ volatile("vfmadd231ps %1, %1, %0" : "+v"(acc[c]) : "v"(x));
  }
  return 16.0 * 2 * kChains * kRounds;
}

__attribute__((target("avx2,fma"))) inline double roundsAvx2() {
  __m256 acc[kChains] = {}, x = _mm256_set1_ps(0.5f);
  for (long i = 0; i < kRounds; i++) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; c++) __asm__ volatile("vfmadd231ps %1, %1, %0" : "+x"(acc[c]) : "x"(x));
  }
  return 8.0 * 2 * kChains * kRounds;
}
#endif

inline double roundsScalar() {
  volatile float sink = 0;
  float acc = 0;
  for (long i = 0; i < kRounds; i++) acc = acc * 0.5f + 1.0f;
  sink = acc;
  return sink < 0 ? 0 : 2.0 * kRounds;
}

inline double roundsOnce() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return roundsAvx512();
  if (__builtin_cpu_supports("avx2")) return roundsAvx2();
#endif
  return roundsScalar();
}

// The best of many short runs: others may use the machine.
inline double peakGflops() {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int run = 0; run < 50; run++) {
    const auto start = Clock::now();
    const double flops = roundsOnce();
    const double gflops = flops / std::chrono::duration<double>(Clock::now() - start).count() / 1e9;
    best = gflops > best ? gflops : best;
  }
  return best;
}

}  // namespace longshore::bench
