// How fast memory is read.
#pragma once

#include <cstdint>
#include <cstring>

#include "limits.h"

namespace longshore::bench {

// The sum keeps the compiler from dropping the loads; its value is not used.
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static uint64_t sumOf(const uint8_t* bytes, uint64_t count) {
  uint64_t total[32] = {};
  for (uint64_t i = 0; i + sizeof total <= count; i += sizeof total) {
    for (int lane = 0; lane < 32; lane++) {
      uint64_t value;
      std::memcpy(&value, bytes + i + 8 * lane, sizeof value);
      total[lane] += value;
    }
  }
  uint64_t sum = 0;
  for (const uint64_t each : total) sum += each;
  return sum;
}

// Bytes per second. Each thread reads a part of its own, once.
inline double readRate(const uint8_t* data, uint64_t bytes, unsigned threads) {
  const uint64_t part = bytes / threads / 64 * 64;
  const double spent = together(threads, [&](unsigned i) {
    volatile uint64_t sink = sumOf(data + i * part, part);
    (void)sink;
  });
  return static_cast<double>(part * threads) / spent;
}

}  // namespace longshore::bench
