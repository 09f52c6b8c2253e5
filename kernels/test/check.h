// The little that a test needs: a claim that names itself when it fails, and random numbers that follow from one seed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "longshore/kernels.h"

namespace longshore::test {

#define CHECK(claim)                                                              \
  do {                                                                            \
    if (!(claim)) {                                                               \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
      std::exit(1);                                                               \
    }                                                                             \
  } while (false)

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint32_t u32() {  // splitmix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<uint32_t>(z >> 32);
  }
  int64_t whole(int64_t min, int64_t max) { return min + static_cast<int64_t>(u32() % static_cast<uint64_t>(max - min + 1)); }
  float unit() { return static_cast<float>(u32()) * 0x1p-31f - 1.0f; }

 private:
  uint64_t state_;
};

// Each runs to the end or exits the process with the claim that failed.
void testFormats();
void testCrc32(uint64_t seed, int rounds);
void testThreads();
void testTiles(uint64_t seed, int rounds);
void testPages(const ls_backend_api* api, uint64_t seed, int rounds);
void testWeights(const ls_backend_api* api, uint64_t seed);
void testOperations(const ls_backend_api* api, uint64_t seed, int rounds);
void testPaths(const ls_backend_api* api, uint64_t seed, int rounds, FILE* digests);  // digests may be null

}  // namespace longshore::test
