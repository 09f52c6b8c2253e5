// Sixteen fp32 lanes: all that the operations of this folder know of a machine.
//
// One source is compiled once per instruction set, each time with its own -m flags and its own LONGSHORE_PATH, which
// names the namespace: everything here is inside it or static, so that the linker cannot hand one instruction set the
// body of another.
//
// All implementations give the same bits, so a path is an order of operations, not an instruction set:
//
//   dot product   lane l sums k = 16j + l in order of j, by fma from +0; a short last vector is filled with zeros;
//                 then the lanes are added by halves: i with i+8, i with i+4, i with i+2, i with i+1
//   max(a, b)     a > b ? a : b, so the second operand where one is NaN; min likewise
//   round         toInt rounds to nearest even; what does not fit gives INT32_MIN
//
// An implementation defines V (16 floats), I (16 int32), the functions below, and its tile:
//
//   zero set load store · add sub mul div min max fma sqrt · bits floats toInt toFloat
//   setInt addInt shiftLeft<n> shiftRight<n>, by lanes shiftLeft · andInt xorInt · moreThan -> 16-bit mask
//   evens odds (duplicated) · swap<1|2|4|8> (lane i with i xor n) · decodeE4m3 decodeE2m1
//   sum · sumTile · kAnyBytes byteDots lookUp, and where an instruction does it timesPower, for more than one group of
//   columns at a time kGroups lookUpColumns
#pragma once

#include <cstdint>
#include <cstring>

#include "../formats.h"

#define LONGSHORE_INLINE static inline __attribute__((always_inline))
#define LONGSHORE_MEMBER __attribute__((always_inline)) inline
#define LONGSHORE_INLINED __attribute__((always_inline))
#if defined(LONGSHORE_PORTABLE)
#define LONGSHORE_UNROLL  // lanes are loops there: unrolled around them, gemm.cc alone took ten seconds more to compile
#else
#define LONGSHORE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace longshore::cpu::LONGSHORE_PATH {

static constexpr int64_t kLanes = 16;

struct Bf16 {
  uint16_t bits;
};

// Elements of a row that one step of a dot product takes.
template <class E>
static constexpr int64_t kVector = 64 / static_cast<int64_t>(sizeof(E));

}  // namespace longshore::cpu::LONGSHORE_PATH

#if defined(LONGSHORE_PORTABLE)
#include "vec_portable.h"
#elif defined(__ARM_NEON)
#include "vec_neon.h"
#elif defined(__AVX512F__)
#include "vec_avx512.h"
#else
#include "vec_avx2.h"
#endif

namespace longshore::cpu::LONGSHORE_PATH {

#if defined(LONGSHORE_PORTABLE) || !defined(__AVX512F__)
static constexpr int kGroups = 1;

template <int H>
LONGSHORE_INLINE void byteDots(const uint8_t* columns, int64_t, const int8_t* x, int64_t stride, I (&dots)[1][H]) {
  byteDots<H>(columns, x, stride, dots[0]);
}

LONGSHORE_INLINE void lookUpColumns(const int8_t (&table)[16], const uint8_t* const (&rows)[16], int64_t offset, uint8_t* columns) {
  for (int64_t lane = 0; lane < kLanes; lane++) {
    int8_t bytes[32];
    lookUp(table, rows[lane] + offset, bytes);
    for (int64_t k = 0; k < 8; k++) std::memcpy(columns + 64 * k + 4 * lane, bytes + 4 * k, 4);
  }
}

// x * 2^n for 1/2 < x < 2 and -150 <= n <= 128, rounded once if the result is denormal.
LONGSHORE_INLINE V timesPower(V x, I n) {
  const I half = shiftRight<1>(n);
  const I rest = addInt(n, addInt(xorInt(half, setInt(-1)), setInt(1)));
  const auto power = [](I e) { return floats(shiftLeft<23>(addInt(e, setInt(127)))); };
  return mul(mul(x, power(half)), power(rest));
}
#endif

// The first n lanes, 0 <= n <= 16; the others are +0. Reads nothing past them.
template <class E>
LONGSHORE_INLINE V loadPart(const E* p, int64_t n) {
  E lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(E));
  return load(lanes);
}

template <class E>
LONGSHORE_INLINE void storePart(E* p, V v, int64_t n) {
  E lanes[kLanes];
  store(lanes, v);
  std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(E));
}

LONGSHORE_INLINE V negate(V v) { return floats(xorInt(bits(v), setInt(INT32_MIN))); }
LONGSHORE_INLINE V absolute(V v) { return floats(andInt(bits(v), setInt(INT32_MAX))); }

LONGSHORE_INLINE float maximum(V v) {
  v = max(v, swap<8>(v));
  v = max(v, swap<4>(v));
  v = max(v, swap<2>(v));
  v = max(v, swap<1>(v));
  return first(v);
}

LONGSHORE_INLINE int64_t minOf(int64_t a, int64_t b) { return a < b ? a : b; }
LONGSHORE_INLINE int64_t maxOf(int64_t a, int64_t b) { return a > b ? a : b; }
LONGSHORE_INLINE int64_t blocksOf(int64_t x, int64_t unit) { return (x + unit - 1) / unit; }

// Calls body(k, load, store) once per 16 elements of [0, n), with loads and stores that stop at n.
template <class Body>
LONGSHORE_INLINE void forLanes(int64_t n, Body&& body) {
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    body(k, [](const auto* p) LONGSHORE_INLINED { return load(p); }, [](auto* p, V v) LONGSHORE_INLINED { store(p, v); });
  }
  if (k < n) {
    const int64_t rest = n - k;
    body(k, [rest](const auto* p) { return loadPart(p, rest); }, [rest](auto* p, V v) { storePart(p, v, rest); });
  }
}

// Calls body with a null `float*` or `Bf16*`: the type of an operand that the call chooses.
template <class Body>
LONGSHORE_INLINE void withElement(bool isF32, Body&& body) {
  if (isF32) body(static_cast<float*>(nullptr));
  else body(static_cast<Bf16*>(nullptr));
}

}  // namespace longshore::cpu::LONGSHORE_PATH
