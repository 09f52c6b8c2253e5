// What this machine can do: products in registers on one core, with the widest units it has, and reading memory on several.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
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
// 12 products of bf16 pairs, as many as there are fused multiply-adds above.
__attribute__((target("avx512f,avx512bf16"))) inline double roundsPairs() {
  __m512 acc[kChains] = {}, x = _mm512_set1_ps(0.5f);
  for (long i = 0; i < kRounds; i++) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; c++) __asm__ volatile("vdpbf16ps %1, %1, %0" : "+v"(acc[c]) : "v"(x));
  }
  return 32.0 * 2 * kChains * kRounds;
}

// Four products of tiles of bf16 (see tile.h of the cpu backend).
inline double roundsTiles() {
  struct alignas(64) {
    uint8_t palette, startRow, reserved[14];
    uint16_t columnBytes[16];
    uint8_t rows[16];
  } shape = {1, 0, {}, {64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16}};
  __asm__ volatile("ldtilecfg %0" : : "m"(shape));
  for (long i = 0; i < kRounds / 4; i++) {
    __asm__ volatile("tdpbf16ps %tmm4, %tmm5, %tmm0\n tdpbf16ps %tmm4, %tmm5, %tmm1\n tdpbf16ps %tmm4, %tmm5, %tmm2\n tdpbf16ps %tmm4, %tmm5, %tmm3");
  }
  __asm__ volatile("tilerelease");
  return 2.0 * 16 * 16 * 32 * 4 * (kRounds / 4);
}

inline bool hasTiles() {
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 1) != 0 && syscall(SYS_arch_prctl, 0x1023L, 18L) == 0;
}
inline bool hasPairs() {
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0 && __builtin_cpu_supports("avx512f");
}
#endif

inline double roundsScalar() {
  volatile float sink = 0;
  float acc = 0;
  for (long i = 0; i < kRounds; i++) acc = acc * 0.5f + 1.0f;
  sink = acc;
  return sink < 0 ? 0 : 2.0 * kRounds;
}

// Seconds that the processor spent on the calling thread.
inline double threadSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// The best of many short runs, by the processor's time: others may use the machine.
template <class Rounds>
double bestOf(Rounds&& rounds) {
  double best = 0;
  for (int run = 0; run < 50; run++) {
    const double start = threadSeconds();
    const double flops = rounds();
    const double gflops = flops / (threadSeconds() - start) / 1e9;
    best = gflops > best ? gflops : best;
  }
  return best;
}

// GFLOP/s of one core in fp32.
inline double peakGflops() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return bestOf(roundsAvx512);
  if (__builtin_cpu_supports("avx2")) return bestOf(roundsAvx2);
#endif
  return bestOf(roundsScalar);
}

// GFLOP/s of one core on bf16, or in fp32 where that is all there is.
inline double matrixGflops() {
#if defined(__x86_64__)
  if (hasTiles()) return bestOf(roundsTiles);
  if (hasPairs()) return bestOf(roundsPairs);
#endif
  return peakGflops();
}

// GB/s of `threads` threads that read each its part once, by the processor's time of the slowest.
inline double readGBs(const uint8_t* data, uint64_t bytes, uint32_t threads) {
  std::vector<double> seconds(threads);
  std::vector<std::thread> readers;
  for (uint32_t t = 0; t < threads; t++) {
    readers.emplace_back([=, &seconds] {
      const uint8_t* from = data + bytes / threads * t;
      uint64_t sums[16] = {};  // vectors, if the compiler knows its trade
      for (uint64_t i = 0; i + 128 <= bytes / threads; i += 128) {
        for (int lane = 0; lane < 16; lane++) {
          uint64_t word;
          std::memcpy(&word, from + i + 8 * lane, sizeof word);
          sums[lane] ^= word;
        }
      }
      volatile uint64_t sink = sums[0] ^ sums[8];
      (void)sink;
      seconds[t] = threadSeconds();
    });
  }
  for (std::thread& reader : readers) reader.join();
  return static_cast<double>(bytes) / *std::max_element(seconds.begin(), seconds.end()) / 1e9;
}

}  // namespace longshore::bench
