// CRC-32: published values; every implementation for this processor against the table,
// over all short lengths and random long ones, at any alignment, in one piece and in
// two. Copies: every byte arrives, no other is touched, and the sum is the table's.
#include "checksum/crc32.h"

#include <algorithm>
#include <vector>

#include "checksum/copy.h"

#include "check.h"

namespace longshore::test {

using namespace longshore::checksum;

namespace {

void checkSpan(const Crc32Ways& ways, const uint8_t* bytes, size_t length) {
  const uint32_t expected = ways.data[0].sum(bytes, length, 0);
  const size_t half = length / 2;
  for (size_t i = 0; i < ways.count; i++) {
    if (!ways.data[i].available) continue;
    const auto sum = ways.data[i].sum;
    CHECK(sum(bytes, length, 0) == expected);
    CHECK(sum(bytes + half, length - half, sum(bytes, half, 0)) == expected);
  }
}

void checkCopy(const Crc32Ways& ways, const std::vector<uint8_t>& bytes, Random& random) {
  const auto length = static_cast<size_t>(random.whole(0, random.whole(0, 1) == 0 ? 300 : 70000));
  const auto from = static_cast<size_t>(random.whole(0, 100)), at = static_cast<size_t>(random.whole(0, 100));
  std::vector<uint8_t> to(at + length + 100, 0xA5), expected = to;
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(from), length, expected.begin() + static_cast<std::ptrdiff_t>(at));
  const uint32_t before = random.u32();
  CHECK(copySummed(to.data() + at, bytes.data() + from, length, before) == ways.data[0].sum(bytes.data() + from, length, before));
  CHECK(to == expected);
}

}  // namespace

void testCrc32(uint64_t seed, int rounds) {
  const Crc32Ways ways = crc32Ways();
  const auto* digits = reinterpret_cast<const uint8_t*>("123456789");
  CHECK(ways.data[0].sum(digits, 9, 0) == 0xCBF43926);  // the "check" value of CRC-32/ISO-HDLC
  CHECK(ways.data[0].sum(digits, 0, 0) == 0);

  constexpr size_t kMargin = 64, kShort = 1100;
  Random random(seed);
  for (size_t length = 0; length < kShort; length++) {
    std::vector<uint8_t> exact(length);  // of this length, so that a sanitizer sees a byte too many
    for (uint8_t& byte : exact) byte = static_cast<uint8_t>(random.u32());
    checkSpan(ways, exact.data(), length);
  }
  std::vector<uint8_t> bytes(1 << 20);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.u32());
  for (int round = 0; round < rounds; round++) {
    const auto from = static_cast<size_t>(random.whole(0, kMargin));
    checkSpan(ways, bytes.data() + from, static_cast<size_t>(random.whole(0, (1 << 20) - kMargin)));
    for (int i = 0; i < 20; i++) checkCopy(ways, bytes, random);
  }
  for (size_t i = 0; i < ways.count; i++)
    if (!ways.data[i].available) std::printf("crc32: not run here: %s\n", ways.data[i].name);
}

}  // namespace longshore::test
