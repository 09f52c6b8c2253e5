// The formats against their definition: the nearest code, found by trying all of them.
#include "../cpu/formats.h"

#include <initializer_list>

#include "check.h"

namespace longshore::test {

using namespace longshore::cpu;

namespace {

// The code whose value is nearest to x, ties to the even code; -1 where none is.
template <class Decode>
int nearest(float x, int codes, Decode decode) {
  int best = -1;
  double distance = INFINITY;
  for (int code = 0; code < codes; code++) {
    const double value = static_cast<double>(decode(static_cast<uint8_t>(code)));
    const double d = std::fabs(std::fabs(static_cast<double>(x)) - value);
    if (d < distance || (d == distance && code % 2 == 0)) {
      best = code;
      distance = d;
    }
  }
  return best;
}

void checkNearest(float x) {
  const int sign = std::signbit(x) ? 1 : 0;
  CHECK(e4m3Encode(x) == (sign << 7 | nearest(x, 127, e4m3Decode)));
  CHECK(e2m1Encode(x) == (sign << 3 | nearest(x, 8, e2m1Decode)));
}

// Every midpoint between neighbours and the floats beside it, where rounding decides.
template <class Decode>
void checkMidpoints(int codes, Decode decode) {
  for (int code = 0; code + 1 < codes; code++) {
    const float middle = (decode(static_cast<uint8_t>(code)) + decode(static_cast<uint8_t>(code + 1))) / 2;
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) {
      checkNearest(x);
      checkNearest(-x);
    }
  }
}

void checkScale(float amax, float largest, int exponent) {
  CHECK(std::ldexp(static_cast<double>(largest), exponent) >= static_cast<double>(amax));
  CHECK(std::ldexp(static_cast<double>(largest), exponent - 1) < static_cast<double>(amax));
}

}  // namespace

void testFormats() {
  for (int code = 0; code < 256; code++)
    if ((code & 0x7F) != 0x7F) CHECK(e4m3Encode(e4m3Decode(static_cast<uint8_t>(code))) == code);
  for (int code = 0; code < 16; code++) CHECK(e2m1Encode(e2m1Decode(static_cast<uint8_t>(code))) == code);
  for (int bits = 0; bits < 1 << 16; bits++)
    if (const float x = bf16Decode(static_cast<uint16_t>(bits)); !std::isnan(x)) CHECK(bf16Encode(x) == bits);
  for (int byte = 0; byte < 255; byte++) CHECK(static_cast<double>(e8m0Decode(static_cast<uint8_t>(byte))) == std::ldexp(1.0, byte - 127));
  CHECK(std::isnan(e8m0Decode(255)) && std::isnan(e4m3Decode(0x7F)) && std::isnan(bf16Decode(bf16Encode(NAN))));

  checkMidpoints(127, e4m3Decode);
  checkMidpoints(8, e2m1Decode);
  Random random(1);
  for (int i = 0; i < 20000; i++) checkNearest(std::ldexp(random.unit(), static_cast<int>(random.whole(-12, 12))));
  for (int exponent = -13; exponent < 100; exponent++)
    for (const float near : {448.0f, std::nextafter(448.0f, 0.0f), std::nextafter(448.0f, 500.0f), 6.0f, std::nextafter(6.0f, 7.0f), 300.0f}) {
      const float amax = std::ldexp(near, exponent);
      if (amax > 1e-4f) checkScale(amax, 448, e4m3ScaleExponent(amax));
      checkScale(amax, 6, e2m1ScaleExponent(amax));
    }
  std::puts("formats: every code, every midpoint, 20000 values");
}

}  // namespace longshore::test
