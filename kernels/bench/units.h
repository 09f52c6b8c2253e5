// The units that multiply and add, at their best:
// operands in registers or tiles, and enough independent chains to hide the latency.
#pragma once

#include <cstdint>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace longshore::bench {

struct Unit {
  const char* key;
  // Runs one thread's share, some 10 ms. Returns the multiplications and additions done.
  double (*run)();
  // Why this machine cannot, or null.
  const char* missing;
};

constexpr long kUnitRounds = 4'000'000;

#if defined(__x86_64__)

// Twelve chains in registers of their own, `rounds` times: the compiler has nothing to keep in memory.
#define LONGSHORE_CHAIN(instruction, v, c) instruction " %%" v "12, %%" v "12, %%" v c "\n\t"
#define LONGSHORE_CHAINS(name, instruction, v, operations)                                                                     \
  inline double name() {                                                                                                      \
    long rounds = kUnitRounds;                                                                                                 \
    __asm__ volatile(                                                                                                          \
        "vzeroall\n\t"                                                                                                         \
        "1:\n\t"                                                                                                               \
        LONGSHORE_CHAIN(instruction, v, "0") LONGSHORE_CHAIN(instruction, v, "1") LONGSHORE_CHAIN(instruction, v, "2")         \
        LONGSHORE_CHAIN(instruction, v, "3") LONGSHORE_CHAIN(instruction, v, "4") LONGSHORE_CHAIN(instruction, v, "5")         \
        LONGSHORE_CHAIN(instruction, v, "6") LONGSHORE_CHAIN(instruction, v, "7") LONGSHORE_CHAIN(instruction, v, "8")         \
        LONGSHORE_CHAIN(instruction, v, "9") LONGSHORE_CHAIN(instruction, v, "10") LONGSHORE_CHAIN(instruction, v, "11")       \
        "sub $1, %0\n\tjnz 1b\n\tvzeroupper"                                                                                  \
        : "+r"(rounds)                                                                                                         \
        :                                                                                                                      \
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",      \
          "xmm13", "xmm14", "xmm15");                                                                                          \
    return (operations) * 12.0 * kUnitRounds;                                                                                  \
  }

LONGSHORE_CHAINS(fmaAvx2, "vfmadd231ps", "ymm", 16.0)
LONGSHORE_CHAINS(fmaAvx512, "vfmadd231ps", "zmm", 32.0)
LONGSHORE_CHAINS(dotBf16, "vdpbf16ps", "zmm", 64.0)
LONGSHORE_CHAINS(dotInt8, "vpdpbusd", "zmm", 128.0)

#undef LONGSHORE_CHAINS
#undef LONGSHORE_CHAIN

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

// Whether the processor has tiles and the system lets this process use them: asked once, for all its threads.
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
