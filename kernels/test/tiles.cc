// Products of tiles of bytes, by the twin: all pairs of bytes, then whole sums, against a plain loop.
#define LONGSHORE_PORTABLE
#define LONGSHORE_PAIRS
#define LONGSHORE_PATH testtiles
#include "../cpu/tiles/tile.h"

#include "check.h"

namespace longshore::test {

using namespace longshore::cpu::testtiles;

namespace {

struct Operands {
  int8_t a[kTile][kRowBytes] = {}, b[kTile][kRowBytes] = {};
  int32_t c[kTile][kTile] = {};
};

void check(const Operands& x) {
  const Tiles tiles;
  loadTile<0>(x.c);
  loadTile<1>(x.a);
  loadTile<2>(x.b);
  addBytes<0, 1, 2>();
  int32_t sums[kTile][kTile];
  storeTile<0>(sums);
  for (int i = 0; i < kTile; i++) {
    for (int j = 0; j < kTile; j++) {
      int64_t sum = x.c[i][j];
      for (int k = 0; k < kRowBytes; k++) sum += x.a[i][k] * x.b[k / 4][4 * j + k % 4];
      CHECK(sums[i][j] == static_cast<int32_t>(static_cast<uint32_t>(sum)));
    }
  }
}

}  // namespace

void testTiles(uint64_t seed, int rounds) {
  for (int left = -128; left < 128; left += kTile) {
    for (int right = -128; right < 128; right += kTile) {
      Operands x;  // one k takes part: 16 bytes times 16 bytes
      const int k = (left + right + 256) / kTile % kRowBytes;
      for (int i = 0; i < kTile; i++) x.a[i][k] = static_cast<int8_t>(left + i), x.b[k / 4][4 * i + k % 4] = static_cast<int8_t>(right + i);
      check(x);
    }
  }
  Random random(seed);
  for (int round = 0; round < rounds; round++) {
    Operands x;  // extremes among them: sums as large as they get, and such as wrap
    const auto byte = [&] { return static_cast<int8_t>(random.whole(0, 3) == 0 ? -128 : random.whole(-128, 127)); };
    for (auto& row : x.a)
      for (int8_t& value : row) value = byte();
    for (auto& row : x.b)
      for (int8_t& value : row) value = byte();
    for (auto& row : x.c)
      for (int32_t& value : row) value = random.whole(0, 1) == 0 ? INT32_MAX : static_cast<int32_t>(random.u32());
    check(x);
  }
  std::printf("tiles: every product of bytes, %d sums of 64\n", rounds * static_cast<int>(kTileFloats));
}

}  // namespace longshore::test
