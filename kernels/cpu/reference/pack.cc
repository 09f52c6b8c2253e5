// Stored rows: KV_PACK, KV_UNPACK, KEY_PACK, KEY_UNPACK, WINDOW_PUT. Layouts: kernels.h; quantisers: spec 6.2.
#include <algorithm>
#include <vector>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

namespace {

template <class T>
void put(uint8_t*& to, T value) {
  std::memcpy(to, &value, sizeof value);
  to += sizeof value;
}

float largestMagnitude(const float* x, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; i++) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

// nope E4M3 | rope | scales | zeros
void packQuantised(const float* row, int64_t nope, int64_t rope, ls_kv_layout layout, uint8_t* to) {
  std::vector<uint8_t> scales;
  for (int64_t start = 0; start < nope; start += kKvBlock) {
    const int64_t count = std::min(kKvBlock, nope - start);
    const int exponent = e4m3ScaleExponent(largestMagnitude(row + start, count));
    for (int64_t i = 0; i < count; i++) put(to, e4m3Encode(row[start + i] * powerOfTwo(-exponent)));
    scales.push_back(static_cast<uint8_t>(exponent + 127));
  }
  for (int64_t i = 0; i < rope; i++) {
    if (layout == LS_KV_E4M3_BF16) put(to, bf16Encode(row[nope + i]));
    else put(to, row[nope + i]);
  }
  for (const uint8_t scale : scales) put(to, scale);
}

void packKvRow(const float* row, int64_t nope, int64_t rope, ls_kv_layout layout, uint8_t* to) {
  std::memset(to, 0, static_cast<size_t>(kvEntryBytes(layout, nope, rope)));
  if (layout == LS_KV_E4M3_BF16 || layout == LS_KV_E4M3_F32) return packQuantised(row, nope, rope, layout, to);
  for (int64_t i = 0; i < nope + rope; i++) {
    if (layout == LS_KV_F32) put(to, row[i]);
    else put(to, bf16Encode(row[i]));
  }
}

// Sylvester order, fp32, strides 1, 2, 4, ...: the order is part of the result (kernels.h).
void hadamard(float* x, int64_t dim) {
  for (int64_t stride = 1; stride < dim; stride *= 2)
    for (int64_t i = 0; i < dim; i++) {
      if ((i & stride) != 0) continue;
      const float low = x[i], high = x[i + stride];
      x[i] = low + high;
      x[i + stride] = low - high;
    }
}

void packFp4(float* row, int64_t dim, uint8_t* to) {
  hadamard(row, dim);
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  for (int64_t i = 0; i < dim; i++) row[i] *= factor;
  uint8_t* scales = to + dim / 2;
  for (int64_t start = 0; start < dim; start += kKeyBlock) {
    const int exponent = e2m1ScaleExponent(largestMagnitude(row + start, kKeyBlock));
    for (int64_t i = start; i < start + kKeyBlock; i += 2) {
      const unsigned low = e2m1Encode(row[i] * powerOfTwo(-exponent)), high = e2m1Encode(row[i + 1] * powerOfTwo(-exponent));
      put(to, static_cast<uint8_t>(low | high << 4));
    }
    put(scales, static_cast<uint8_t>(exponent + 127));
  }
}

void packKeyRow(float* row, int64_t dim, ls_key_layout layout, uint8_t* to) {
  if (layout == LS_KEY_FP4) return packFp4(row, dim, to);
  for (int64_t i = 0; i < dim; i++) {
    if (layout == LS_KEY_F32) put(to, row[i]);
    else put(to, bf16Encode(row[i]));
  }
}

// Row r of an activation tensor; exact, since activations are F32 or BF16.
std::vector<float> floats(const In& x, int64_t r, int64_t width) {
  std::vector<float> row(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; i++) row[static_cast<size_t>(i)] = static_cast<float>(load(x, r * width + i));
  return row;
}

}  // namespace

void unpackKvRow(ls_kv_layout layout, int64_t nope, int64_t rope, const uint8_t* entry, float* row) {
  const bool quantised = layout == LS_KV_E4M3_BF16 || layout == LS_KV_E4M3_F32;
  if (!quantised) {
    for (int64_t i = 0; i < nope + rope; i++) row[i] = static_cast<float>(load({entry, layout == LS_KV_F32 ? LS_F32 : LS_BF16}, i));
    return;
  }
  const ls_dtype ropeType = layout == LS_KV_E4M3_F32 ? LS_F32 : LS_BF16;
  const uint8_t* scales = entry + nope + rope * (ropeType == LS_F32 ? 4 : 2);
  for (int64_t i = 0; i < nope; i++) row[i] = e4m3Decode(entry[i]) * e8m0Decode(scales[i / kKvBlock]);
  for (int64_t i = 0; i < rope; i++) row[nope + i] = static_cast<float>(load({entry + nope, ropeType}, i));
}

void unpackKeyRow(ls_key_layout layout, int64_t dim, const uint8_t* key, float* row) {
  for (int64_t i = 0; i < dim; i++) {
    if (layout == LS_KEY_FP4) row[i] = e2m1Decode(nibbleAt(key, i)) * e8m0Decode(key[dim / 2 + i / kKeyBlock]);
    else row[i] = static_cast<float>(load({key, layout == LS_KEY_F32 ? LS_F32 : LS_BF16}, i));
  }
}

void kvPack(const KvPackArgs& a, Pool&) {
  const int64_t width = a.nope + a.rope, bytes = kvEntryBytes(a.layout, a.nope, a.rope);
  for (int64_t t = 0; t < a.T; t++) packKvRow(floats(a.rows, t, width).data(), a.nope, a.rope, a.layout, a.entries + t * bytes);
}

void kvUnpack(const KvUnpackArgs& a, Pool&) {
  const int64_t width = a.nope + a.rope, bytes = kvEntryBytes(a.layout, a.nope, a.rope);
  for (int64_t t = 0; t < a.T; t++) unpackKvRow(a.layout, a.nope, a.rope, a.entries + t * bytes, a.rows + t * width);
}

void keyPack(const KeyPackArgs& a, Pool&) {
  for (int64_t r = 0; r < a.R; r++) packKeyRow(floats(a.rows, r, a.dim).data(), a.dim, a.layout, a.keys + r * keyBytes(a.layout, a.dim));
}

void keyUnpack(const KeyUnpackArgs& a, Pool&) {
  for (int64_t r = 0; r < a.R; r++) unpackKeyRow(a.layout, a.dim, a.keys + r * keyBytes(a.layout, a.dim), a.rows + r * a.dim);
}

void windowPut(const WindowPutArgs& a, Pool&) {
  for (int64_t i = std::max<int64_t>(0, a.T - a.W); i < a.T; i++)
    std::memcpy(a.ring + (a.start + i) % a.W * a.bytes, a.entries + i * a.bytes, static_cast<size_t>(a.bytes));
}

}  // namespace longshore::cpu::reference
