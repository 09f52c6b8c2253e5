// KV_PACK, KV_UNPACK, KEY_PACK, KEY_UNPACK, WINDOW_PUT.
// The codes are those of ../formats.h, whose encoders are used as they are.
#include "stored.h"

#include <cmath>

#include "path.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

float largestMagnitude(const float* x, int64_t count) {
  V largest = zero();
  forLanes(count, [&](int64_t k, auto read, auto) LONGSHORE_INLINED { largest = max(largest, absolute(read(x + k))); });
  return maximum(largest);
}

template <class E>
uint8_t* putRow(const float* x, int64_t count, uint8_t* to) {
  E* elements = reinterpret_cast<E*>(to);
  forLanes(count, [&](int64_t k, auto read, auto write) LONGSHORE_INLINED { write(elements + k, read(x + k)); });
  return to + count * static_cast<int64_t>(sizeof(E));
}

// nope E4M3 | rope | scales | zeros
void packQuantised(const KvShape& s, const float* row, uint8_t* to, uint8_t* end) {
  uint8_t* codes = to;
  uint8_t* scales = s.ropeIsF32() ? putRow<float>(row + s.nope, s.rope, to + s.nope) : putRow<Bf16>(row + s.nope, s.rope, to + s.nope);
  for (int64_t start = 0; start < s.nope; start += kKvBlock) {
    const int64_t count = minOf(kKvBlock, s.nope - start);
    const int exponent = e4m3ScaleExponent(largestMagnitude(row + start, count));
    const float factor = powerOfTwo(-exponent);
    for (int64_t i = 0; i < count; i++) *codes++ = e4m3Encode(row[start + i] * factor);
    *scales++ = static_cast<uint8_t>(exponent + 127);
  }
  std::memset(scales, 0, static_cast<size_t>(end - scales));
}

template <int stride>
V butterfly(V v) {
  float signs[kLanes];
  for (int64_t l = 0; l < kLanes; l++) signs[l] = (l & stride) != 0 ? -1.0f : 1.0f;
  return fma(v, load(signs), swap<stride>(v));  // low + high, or low - high: v * -1 + swapped, one rounding
}

// Sylvester order, strides 1, 2, 4, ... (kernels.h); dim is a power of two and a multiple of 16.
void hadamard(float* x, int64_t dim) {
  for (int64_t k = 0; k < dim; k += kLanes) store(x + k, butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(load(x + k))))));
  for (int64_t stride = kLanes; stride < dim; stride *= 2) {
    for (int64_t k = 0; k < dim; k += kLanes) {
      if ((k & stride) != 0) continue;
      const V low = load(x + k), high = load(x + k + stride);
      store(x + k, add(low, high));
      store(x + k + stride, sub(low, high));
    }
  }
}

// e2m1Encode without branches, so that the compiler turns sixteen of them into vectors.
LONGSHORE_INLINE int32_t e2m1Code(float x) {
  const uint32_t bits = bitsOf(x);
  const float v = fromBits(bits & 0x7FFFFFFFu);
  return static_cast<int32_t>((bits >> 28) & 8u) | (!(v <= 0.25f) + !(v < 0.75f) + !(v <= 1.25f) + !(v < 1.75f) + !(v <= 2.5f) + !(v < 3.5f) + !(v <= 5.0f));
}

void packFp4(float* row, int64_t dim, uint8_t* to) {
  hadamard(row, dim);
  const V factor = set(static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim))));
  for (int64_t k = 0; k < dim; k += kLanes) store(row + k, mul(load(row + k), factor));
  for (int64_t block = 0; block < dim / kKeyBlock; block++) {
    const float* x = row + block * kKeyBlock;
    const int exponent = e2m1ScaleExponent(largestMagnitude(x, kKeyBlock));
    int32_t codes[kKeyBlock];
    for (int64_t i = 0; i < kKeyBlock; i++) codes[i] = e2m1Code(x[i] * powerOfTwo(-exponent));
    for (int64_t i = 0; i < kKeyBlock / 2; i++) to[block * kKeyBlock / 2 + i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
    to[dim / 2 + block] = static_cast<uint8_t>(exponent + 127);
  }
}

// Calls body(row, floats) for every row of an activation tensor, as padded floats.
template <class Body>
void forFloatRows(const In& rows, int64_t count, int64_t width, Pool& pool, Body&& body) {
  withElement(rows.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    pool.parallelFor(count, grainOf(width), [&](int64_t begin, int64_t end, uint32_t worker) {
      float* row = static_cast<float*>(pool.scratch(worker, static_cast<size_t>(padded(width)) * sizeof(float)));
      for (int64_t r = begin; r < end; r++) {
        padRow(at<E>(rows.data, r * width), width, row);
        body(r, row);
      }
    });
  });
}

}  // namespace

void kvPack(const KvPackArgs& a, Pool& pool) {
  const KvShape s = {a.layout, a.nope, a.rope};
  const int64_t bytes = kvEntryBytes(a.layout, a.nope, a.rope);
  forFloatRows(a.rows, a.T, s.width(), pool, [&](int64_t t, float* row) {
    uint8_t* entry = a.entries + t * bytes;
    if (s.quantised()) packQuantised(s, row, entry, entry + bytes);
    else if (s.layout == LS_KV_F32) putRow<float>(row, s.width(), entry);
    else putRow<Bf16>(row, s.width(), entry);
  });
}

void kvUnpack(const KvUnpackArgs& a, Pool& pool) {
  const KvShape s = {a.layout, a.nope, a.rope};
  pool.parallelFor(a.T, grainOf(s.width() / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t t = begin; t < end; t++) unpackKv(s, a.entries + t * kvEntryBytes(a.layout, a.nope, a.rope), a.rows + t * s.width());
  });
}

void keyPack(const KeyPackArgs& a, Pool& pool) {
  const int64_t bytes = keyBytes(a.layout, a.dim);
  forFloatRows(a.rows, a.R, a.dim, pool, [&](int64_t r, float* row) {
    uint8_t* key = a.keys + r * bytes;
    if (a.layout == LS_KEY_FP4) packFp4(row, a.dim, key);
    else if (a.layout == LS_KEY_F32) putRow<float>(row, a.dim, key);
    else putRow<Bf16>(row, a.dim, key);
  });
}

void keyUnpack(const KeyUnpackArgs& a, Pool& pool) {
  pool.parallelFor(a.R, grainOf(a.dim / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t r = begin; r < end; r++) unpackKey(a.layout, a.dim, a.keys + r * keyBytes(a.layout, a.dim), a.rows + r * a.dim);
  });
}

void windowPut(const WindowPutArgs& a, Pool&) {
  for (int64_t i = maxOf(0, a.T - a.W); i < a.T; i++) {
    std::memcpy(a.ring + (a.start + i) % a.W * a.bytes, a.entries + i * a.bytes, static_cast<size_t>(a.bytes));
  }
}

}  // namespace longshore::cpu::LONGSHORE_PATH
