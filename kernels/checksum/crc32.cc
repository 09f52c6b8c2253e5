#include "crc32.h"

#include <array>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

#include <cstring>
#endif

namespace longshore::checksum {

namespace {

constexpr uint32_t kPolynomial = 0xEDB88320;  // bit 31 is the coefficient of x^0

constexpr uint32_t timesX(uint32_t value) { return value >> 1 ^ ((value & 1) != 0 ? kPolynomial : 0); }

constexpr std::array<uint32_t, 256> byteTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; bit++) value = timesX(value);
    table[byte] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = byteTable();

// The register after `bytes`; it begins as ~0 and ends as ~sum.
uint32_t feed(uint32_t state, const uint8_t* bytes, size_t length) {
  for (size_t i = 0; i < length; i++) state = kTable[(state ^ bytes[i]) & 0xFF] ^ state >> 8;
  return state;
}

uint32_t sumByTable(const uint8_t* bytes, size_t length, uint32_t before) { return ~feed(~before, bytes, length); }

#if defined(__x86_64__)

// Folding (V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel 2009): sixteen bytes
// that lie `bits` before others may be replaced by their product with x^bits modulo the polynomial, added to those. A
// reflected product comes out one bit low, hence the shift.
constexpr uint64_t xToThe(int power) {
  uint32_t value = 0x80000000;
  for (int i = 0; i < power; i++) value = timesX(value);
  return uint64_t{value} << 1;
}

// The first eight of the sixteen bytes lie 64 bits further from the others;
// 32 of the exponent are in how the product lies in its 128 bits.
template <int bits>
struct Fold {
  static constexpr long long first = static_cast<long long>(xToThe(bits + 32)), second = static_cast<long long>(xToThe(bits - 32));
};
static_assert(Fold<512>::first == 0x154442BD4 && Fold<512>::second == 0x1C6E41596, "the constants of the paper, section 'bit-reflected'");

#define LONGSHORE_CLMUL __attribute__((target("pclmul,sse4.1")))
#define LONGSHORE_VCLMUL __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.1")))

LONGSHORE_CLMUL inline __m128i load(const uint8_t* bytes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)); }

template <int bits>
LONGSHORE_CLMUL inline __m128i fold(__m128i value, __m128i onto) {
  const __m128i factors = _mm_set_epi64x(Fold<bits>::second, Fold<bits>::first);
  const __m128i product = _mm_xor_si128(_mm_clmulepi64_si128(value, factors, 0x00), _mm_clmulepi64_si128(value, factors, 0x11));
  return _mm_xor_si128(product, onto);
}

// `folded` stands for all bytes before `bytes`.
LONGSHORE_CLMUL inline uint32_t finish(__m128i folded, const uint8_t* bytes, size_t length) {
  for (; length >= 16; bytes += 16, length -= 16) folded = fold<128>(folded, load(bytes));
  alignas(16) uint8_t last[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(last), folded);
  return ~feed(feed(0, last, sizeof(last)), bytes, length);
}

// Four folds in flight hide the latency of one.
LONGSHORE_CLMUL uint32_t sumByClmul(const uint8_t* bytes, size_t length, uint32_t before) {
  if (length < 64) return sumByTable(bytes, length, before);
  __m128i a = _mm_xor_si128(load(bytes), _mm_cvtsi32_si128(static_cast<int>(~before))), b = load(bytes + 16), c = load(bytes + 32), d = load(bytes + 48);
  for (bytes += 64, length -= 64; length >= 64; bytes += 64, length -= 64) {
    a = fold<512>(a, load(bytes));
    b = fold<512>(b, load(bytes + 16));
    c = fold<512>(c, load(bytes + 32));
    d = fold<512>(d, load(bytes + 48));
  }
  return finish(fold<128>(fold<128>(fold<128>(a, b), c), d), bytes, length);
}

LONGSHORE_VCLMUL inline __m512i loadWide(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }

template <int bits>
LONGSHORE_VCLMUL inline __m512i foldWide(__m512i value, __m512i onto) {
  constexpr long long first = Fold<bits>::first, second = Fold<bits>::second;
  const __m512i factors = _mm512_set_epi64(second, first, second, first, second, first, second, first);
  constexpr int xorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(value, factors, 0x00), _mm512_clmulepi64_epi128(value, factors, 0x11), onto, xorOfThree);
}

// The same, four times as wide.
LONGSHORE_VCLMUL uint32_t sumByVclmul(const uint8_t* bytes, size_t length, uint32_t before) {
  if (length < 256) return sumByClmul(bytes, length, before);
  const __m512i begin = _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, ~before);
  __m512i a = _mm512_xor_si512(loadWide(bytes), begin), b = loadWide(bytes + 64), c = loadWide(bytes + 128), d = loadWide(bytes + 192);
  for (bytes += 256, length -= 256; length >= 256; bytes += 256, length -= 256) {
    a = foldWide<2048>(a, loadWide(bytes));
    b = foldWide<2048>(b, loadWide(bytes + 64));
    c = foldWide<2048>(c, loadWide(bytes + 128));
    d = foldWide<2048>(d, loadWide(bytes + 192));
  }
  __m512i folded = foldWide<512>(foldWide<512>(foldWide<512>(a, b), c), d);
  for (; length >= 64; bytes += 64, length -= 64) folded = foldWide<512>(folded, loadWide(bytes));
  alignas(64) uint8_t lanes[64];
  _mm512_store_si512(lanes, folded);
  const __m128i last = fold<128>(fold<128>(fold<128>(load(lanes), load(lanes + 16)), load(lanes + 32)), load(lanes + 48));
  return finish(last, bytes, length);
}

const Crc32Ways& ways() {
  static const bool clmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  static const bool wide = clmul && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
  static const Crc32Way all[] = {{"table", true, sumByTable}, {"clmul", clmul, sumByClmul}, {"vclmul", wide, sumByVclmul}};
  static const Crc32Ways list{all, 3};
  return list;
}

#elif defined(__aarch64__)

// An instruction for exactly this polynomial, optional in ARMv8.0.
__attribute__((target("+crc"))) uint32_t sumByInstruction(const uint8_t* bytes, size_t length, uint32_t before) {
  uint32_t state = ~before;
  for (; length >= 8; bytes += 8, length -= 8) {
    uint64_t eight;
    std::memcpy(&eight, bytes, 8);
    state = __crc32d(state, eight);
  }
  return ~feed(state, bytes, length);
}

const Crc32Ways& ways() {
  static const bool instruction = (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
  static const Crc32Way all[] = {{"table", true, sumByTable}, {"instruction", instruction, sumByInstruction}};
  static const Crc32Ways list{all, 2};
  return list;
}

#else

const Crc32Ways& ways() {
  static const Crc32Way all[] = {{"table", true, sumByTable}};
  static const Crc32Ways list{all, 1};
  return list;
}

#endif

}  // namespace

Crc32Ways crc32Ways() { return ways(); }

const Crc32Way& bestCrc32() {
  const Crc32Ways all = ways();
  size_t best = 0;
  for (size_t i = 1; i < all.count; i++)
    if (all.data[i].available) best = i;
  return all.data[best];
}

}  // namespace longshore::checksum
