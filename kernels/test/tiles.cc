// Products of tiles by the twin, against plain loops. Bytes: every product, then whole sums. Pairs of bf16: ordinary
// exponents, all exponents, and the edges between.
#define LONGSHORE_PORTABLE
#define LONGSHORE_PAIRS
#define LONGSHORE_PATH testtiles
#include "../cpu/tiles/tile.h"

#include "check.h"

namespace longshore::test {

using namespace longshore::cpu;
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

struct PairOperands {
  uint16_t a[kTile][2 * kTile], b[kTile][2 * kTile];
  float c[kTile][kTile];
};

float flush(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// Rounded once; operands and result are never denormal.
float step(uint16_t x, uint16_t w, float sum) { return flush(std::fma(flush(bf16Decode(x)), flush(bf16Decode(w)), sum)); }

void checkPairs(const PairOperands& x) {
  const Tiles tiles;
  loadTile<0>(x.c);
  loadTile<1>(x.a);
  loadTile<2>(x.b);
  addPairs<0, 1, 2>();
  float sums[kTile][kTile];
  storeTile<0>(sums);
  for (int i = 0; i < kTile; i++) {
    for (int j = 0; j < kTile; j++) {
      float even = 0, odd = 0;
      for (int k = 0; k < kTile; k++) even = step(x.a[i][2 * k], x.b[k][2 * j], even), odd = step(x.a[i][2 * k + 1], x.b[k][2 * j + 1], odd);
      const float sum = flush(flush(x.c[i][j]) + flush(even + odd));
      CHECK(bitsOf(sums[i][j]) == bitsOf(sum) || (std::isnan(sums[i][j]) && std::isnan(sum)));
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
  struct { int least, most; } const exponents[] = {{-8, 8}, {-127, 127}, {-57, -57}, {-56, -54}, {62, 63}, {64, 64}};
  for (int round = 0; round < 6 * rounds; round++) {
    const auto [least, most] = exponents[round % 6];
    const auto half = [&] {
      const int64_t magnitude = (random.whole(least, most) + 127) << 7 | random.whole(0, 127);  // denormal at -127
      return static_cast<uint16_t>(random.whole(0, 1) << 15 | (random.whole(0, 7) == 0 ? 0 : magnitude));
    };
    PairOperands x;
    for (auto& row : x.a)
      for (uint16_t& value : row) value = half();
    for (auto& row : x.b)
      for (uint16_t& value : row) value = half();
    for (auto& row : x.c)
      for (float& value : row) value = random.whole(0, 3) == 0 ? 0.0f : bf16Decode(half()) * random.unit();
    checkPairs(x);
  }
  const int sums = rounds * static_cast<int>(kTileFloats);
  std::printf("tiles: every product of bytes, %d sums of 64, %d of 32 pairs\n", sums, 6 * sums);
}

}  // namespace longshore::test
