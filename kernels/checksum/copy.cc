#include "copy.h"

#include <algorithm>
#include <cstring>

#include "crc32.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace longshore::checksum {

namespace {

constexpr size_t kBlock = 8192;       // summed, then copied out of the L1 cache
constexpr size_t kPastMin = 2 * kBlock;  // shorter copies stay in the caches

#if defined(__x86_64__)

void copyPast(uint8_t* to, const uint8_t* from, size_t length) {
  const size_t head = std::min(length, static_cast<size_t>(-reinterpret_cast<uintptr_t>(to) % 64));
  std::memcpy(to, from, head);
  size_t i = head;
  for (; i + 64 <= length; i += 64) {
    for (size_t j = i; j < i + 64; j += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + j), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j)));
  }
  std::memcpy(to + i, from + i, length - i);
}

// Orders the stores that bypassed the caches before all that follow.
void settle() { _mm_sfence(); }

#else

void copyPast(uint8_t* to, const uint8_t* from, size_t length) { std::memcpy(to, from, length); }
void settle() {}

#endif

}  // namespace

uint32_t copySummed(uint8_t* to, const uint8_t* from, size_t length, uint32_t before) {
  static const auto sum = bestCrc32().sum;
  const bool past = length >= kPastMin;
  uint32_t total = before;
  for (size_t at = 0; at < length; at += kBlock) {
    const size_t bytes = std::min(kBlock, length - at);
    total = sum(from + at, bytes, total);
    if (past) copyPast(to + at, from + at, bytes);
    else std::memcpy(to + at, from + at, bytes);
  }
  if (past) settle();
  return total;
}

}  // namespace longshore::checksum
