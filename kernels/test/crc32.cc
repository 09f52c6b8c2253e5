// CRC-32: published values, and every way this processor has against the table, over all short lengths and random long ones, at any alignment.
#include "checksum/crc32.h"

#include <vector>

#include "check.h"

namespace longshore::test {

using namespace longshore::checksum;

namespace {

void checkSpan(const Crc32Ways& ways, const uint8_t* bytes, size_t length) {
  const uint32_t expected = ways.data[0].sum(bytes, length);
  for (size_t i = 1; i < ways.count; i++) CHECK(!ways.data[i].available || ways.data[i].sum(bytes, length) == expected);
}

}  // namespace

void testCrc32(uint64_t seed, int rounds) {
  const Crc32Ways ways = crc32Ways();
  const auto* digits = reinterpret_cast<const uint8_t*>("123456789");
  CHECK(ways.data[0].sum(digits, 9) == 0xCBF43926);  // the "check" value of CRC-32/ISO-HDLC
  CHECK(ways.data[0].sum(digits, 0) == 0);

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
  }
  for (size_t i = 0; i < ways.count; i++)
    if (!ways.data[i].available) std::printf("crc32: not run here: %s\n", ways.data[i].name);
}

}  // namespace longshore::test
