// The units that multiply and add, at their best: operands in registers or tiles, enough independent chains to hide the latency.
#pragma once

#include <cstdint>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace longshore::bench {

struct Unit {
  const char* key;
  // One thread's share, some 10 ms of it. Returns the multiplications and additions done.
  double (*run)();
  // Why this machine cannot, or null.
  const char* missing;
};

constexpr long kUnitRounds = 2'000'000;

#if defined(__x86_64__)

#define LONGSHORE_CHAINS(target_, name, type, zero, instruction, operations)                                       \
  __attribute__((target(target_))) inline double name() {                                                         \
    type acc[12], x = zero();                                                                                      \
    for (type& a : acc) a = zero();                                                                                \
    for (long i = 0; i < kUnitRounds; i++) {                                                                       \
      _Pragma("GCC unroll 12") for (int c = 0; c < 12; c++) __asm__ volatile(instruction " %1, %1, %0" : "+v"(acc[c]) : "v"(x)); \
    }                                                                                                              \
    return (operations) * 12.0 * kUnitRounds;                                                                      \
  }

LONGSHORE_CHAINS("avx2,fma", fmaAvx2, __m256, _mm256_setzero_ps, "vfmadd231ps", 16.0)
LONGSHORE_CHAINS("avx512f", fmaAvx512, __m512, _mm512_setzero_ps, "vfmadd231ps", 32.0)
LONGSHORE_CHAINS("avx512f,avx512bf16", dotBf16, __m512, _mm512_setzero_ps, "vdpbf16ps", 64.0)
LONGSHORE_CHAINS("avx512f,avx512vnni", dotInt8, __m512i, _mm512_setzero_si512, "vpdpbusd", 128.0)

#undef LONGSHORE_CHAINS

// Eight tiles of 16 rows of 64 bytes: four sums, two left and two right operands.
struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#define LONGSHORE_TILES(name, instruction, operations)                                                                      \
  inline double name() {                                                                                                    \
    const TileConfig config;                                                                                                \
    __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"         \
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7" ::"m"(config));             \
    for (long i = 0; i < kUnitRounds / 4; i++) {                                                                           \
      __asm__ volatile(instruction " %tmm6, %tmm4, %tmm0\n\t" instruction " %tmm7, %tmm4, %tmm1\n\t"                        \
                       instruction " %tmm6, %tmm5, %tmm2\n\t" instruction " %tmm7, %tmm5, %tmm3");                          \
    }                                                                                                                       \
    __asm__ volatile("tilerelease");                                                                                        \
    return (operations) * 4.0 * (kUnitRounds / 4);                                                                         \
  }

LONGSHORE_TILES(tileBf16, "tdpbf16ps", 2.0 * 16 * 16 * 32)
LONGSHORE_TILES(tileInt8, "tdpbssd", 2.0 * 16 * 16 * 64)

#undef LONGSHORE_TILES

inline bool leaf7(unsigned subleaf, unsigned index, unsigned bit) {
  unsigned r[4] = {};
  return __get_cpuid_count(7, subleaf, &r[0], &r[1], &r[2], &r[3]) != 0 && (r[index] >> bit & 1) != 0;
}

// The processor has it and the system lets this process use it: asked for once, for all its threads.
inline bool tilesAllowed() { return leaf7(0, 3, 24) && syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18) == 0; }

inline std::vector<Unit> units() {
  const bool wide = __builtin_cpu_supports("avx512f"), tiles = tilesAllowed();
  const auto unless = [](bool has, const char* reason) { return has ? nullptr : reason; };
  return {
      {"peak.fma", wide ? fmaAvx512 : fmaAvx2, unless(__builtin_cpu_supports("fma"), "no FMA")},
      {"peak.bf16.avx512", dotBf16, unless(wide && leaf7(1, 0, 5), "no AVX-512 BF16")},
      {"peak.bf16.amx", tileBf16, unless(tiles && leaf7(0, 3, 22), "no AMX")},
      {"peak.int8.avx512", dotInt8, unless(wide && leaf7(0, 2, 11), "no AVX-512 VNNI")},
      {"peak.int8.amx", tileInt8, unless(tiles && leaf7(0, 3, 25), "no AMX")},
  };
}

#else

inline double plain() {
  float acc[16] = {};
  for (long i = 0; i < kUnitRounds; i++) {
    for (float& a : acc) a = a * 0.5f + 1.0f;
    __asm__ volatile("" : "+m"(acc));
  }
  return 2.0 * 16 * kUnitRounds;
}

inline std::vector<Unit> units() {
  const char* reason = "no such unit on this architecture";
  return {{"peak.fma", plain, nullptr}, {"peak.bf16.avx512", nullptr, reason}, {"peak.bf16.amx", nullptr, reason}, {"peak.int8.avx512", nullptr, reason}, {"peak.int8.amx", nullptr, reason}};
}

#endif

}  // namespace longshore::bench
