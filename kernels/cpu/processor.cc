#include "processor.h"

#include <cstdint>
#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace longshore::cpu {

namespace {

struct Leaf {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

// XCR0 bits: the register state that the operating system saves.
constexpr uint64_t kXmmYmm = 0x6, kZmm = 0xE0, kTiles = 0x60000;

#if defined(__x86_64__)
constexpr const char* kFamily = "";

Leaf cpuid(uint32_t leaf, uint32_t subleaf) {
  Leaf r;
  if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}

uint64_t savedState() {
  if ((cpuid(1, 0).c & bit_OSXSAVE) == 0) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

// Linux grants tile registers to a process that asks.
bool tilesGranted() {
  constexpr long request = 0x1023, tileData = 18;  // ARCH_REQ_XCOMP_PERM, the XCR0 bit of tile data
  return syscall(SYS_arch_prctl, request, tileData) == 0;
}
#else
constexpr const char* kFamily = "this is not an x86-64 processor";

Leaf cpuid(uint32_t, uint32_t) { return {}; }
uint64_t savedState() { return 0; }
bool tilesGranted() { return false; }
#endif

std::string unless(bool has, const char* feature) { return has ? "" : std::string("this processor has no ") + feature; }

std::string firstOf(std::initializer_list<std::string> reasons) {
  for (const std::string& reason : reasons)
    if (!reason.empty()) return reason;
  return "";
}

std::string unlessSaved(uint64_t state, const char* name) {
  return (savedState() & state) == state ? "" : std::string("the operating system does not save ") + name + " registers";
}

}  // namespace

std::string whyNoNeon() {
#if defined(__aarch64__)
  return "";  // part of the architecture
#else
  return "this is not an aarch64 processor";
#endif
}

std::string whyNoAvx2() {
  const uint32_t leaf1 = cpuid(1, 0).c, leaf7 = cpuid(7, 0).b;
  return firstOf({kFamily, unless((leaf7 >> 5 & 1) != 0, "AVX2"), unless((leaf1 >> 12 & 1) != 0, "FMA"), unless((leaf1 >> 29 & 1) != 0, "F16C"),
                  unlessSaved(kXmmYmm, "AVX")});
}

std::string whyNoAvx512() {
  const Leaf leaf7 = cpuid(7, 0);
  return firstOf({whyNoAvx2(), unless((leaf7.b >> 16 & 1) != 0, "AVX-512F"), unless((leaf7.b >> 17 & 1) != 0, "AVX-512DQ"),
                  unless((leaf7.b >> 30 & 1) != 0, "AVX-512BW"), unless((leaf7.b >> 31 & 1) != 0, "AVX-512VL"),
                  unless((leaf7.c >> 11 & 1) != 0, "AVX-512 VNNI"), unlessSaved(kXmmYmm | kZmm, "AVX-512")});
}

std::string whyNoAvx512Bf16() {
  return firstOf({whyNoAvx512(), unless((cpuid(7, 1).a >> 5 & 1) != 0, "AVX-512 BF16"), unless((cpuid(7, 0).c >> 1 & 1) != 0, "AVX-512 VBMI")});
}

std::string whyNoAmx() {
  const Leaf leaf7 = cpuid(7, 0);
  const std::string reason =
      firstOf({whyNoAvx512Bf16(), unless((leaf7.d >> 24 & 1) != 0, "AMX"), unless((leaf7.d >> 22 & 1) != 0, "AMX-BF16"), unlessSaved(kTiles, "tile")});
  return reason.empty() && !tilesGranted() ? "the operating system grants no tile registers" : reason;
}

bool hasByteTiles() { return (cpuid(7, 0).d >> 25 & 1) != 0; }

}  // namespace longshore::cpu
