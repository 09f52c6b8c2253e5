#include "fuzz.h"

#include <algorithm>
#include <cstring>

#include "../cpu/formats.h"

namespace longshore::test {

using namespace longshore::cpu;

namespace {

int64_t countOf(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

int64_t bytesOf(ls_dtype dtype, int64_t count) {
  static constexpr int64_t halfBytes[] = {8, 4, 2, 2, 1, 8, 16, 2};
  return count * halfBytes[dtype] / 2;
}

template <class T>
uint8_t* put(T value, uint8_t* to) {
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

}  // namespace

int64_t bytesOf(const ls_tensor& tensor) { return bytesOf(tensor.dtype, countOf({tensor.shape, tensor.shape + tensor.rank})); }

uint8_t* Fuzz::host(const ls_tensor& tensor) {
  uint64_t bytes = 0;
  return api_->buffer_host(tensor.buffer, &bytes) + tensor.offset;
}

ls_tensor Fuzz::make(ls_dtype dtype, std::vector<int64_t> shape, uint64_t offset) {
  ls_tensor tensor{};
  tensor.dtype = dtype;
  tensor.rank = static_cast<uint32_t>(shape.size());
  tensor.offset = offset;
  for (size_t i = 0; i < shape.size(); i++) tensor.shape[i] = shape[i];
  CHECK(api_->buffer_create(offset + static_cast<uint64_t>(bytesOf(dtype, countOf(shape))), &tensor.buffer) == LS_OK);
  buffers_.push_back(tensor.buffer);
  return tensor;
}

// A byte of a packed format. Sound scales bring the largest E4M3 values to about ten.
uint8_t Fuzz::code(ls_dtype dtype) {
  const auto byte = static_cast<uint8_t>(random_.u32());
  if (values_ == Values::any) return byte;
  if (dtype == LS_F8_E8M0) return static_cast<uint8_t>(127 - 8 + byte % 5);
  return dtype == LS_F8_E4M3 && (byte & 0x7F) == 0x7F ? byte ^ 1 : byte;
}

// Returns the end of what it wrote.
uint8_t* Fuzz::fill(ls_dtype dtype, int64_t count, uint8_t* to) {
  uint8_t* const end = to + bytesOf(dtype, count);
  while (to < end) {
    if (dtype == LS_F32) to = put(random_.unit(), to);
    else if (dtype == LS_BF16) to = put(bf16Encode(random_.unit()), to);
    else to = put(code(dtype), to);
  }
  return end;
}

ls_tensor Fuzz::floats(ls_dtype dtype, std::vector<int64_t> shape, uint64_t offset) {
  const ls_tensor tensor = make(dtype, shape, offset);
  fill(dtype, countOf(shape), host(tensor));
  return tensor;
}

// Any bits; infinities, denormals and all kinds of NaN come far more often than by chance.
ls_tensor Fuzz::corners(ls_dtype dtype, std::vector<int64_t> shape) {
  static constexpr uint8_t bytes[] = {0x00, 0x7F, 0x80, 0xFF};
  const ls_tensor tensor = make(dtype, shape, anyByte());
  for (int64_t i = 0; i < bytesOf(tensor); i++) host(tensor)[i] = random_.whole(0, 1) == 0 ? bytes[random_.whole(0, 3)] : static_cast<uint8_t>(random_.u32());
  return tensor;
}

// Multiples of `step`: two values differ by at least `step`, or are equal.
ls_tensor Fuzz::onGrid(std::vector<int64_t> shape, int64_t steps, float step) {
  const ls_tensor tensor = make(LS_F32, shape);
  for (int64_t i = 0; i < countOf(shape); i++) reinterpret_cast<float*>(host(tensor))[i] = static_cast<float>(random_.whole(-steps, steps)) * step;
  return tensor;
}

// Stored rows; the last dimension is their bytes.
ls_tensor Fuzz::rowsOf(std::vector<int64_t> shape, const FillRow& fill) {
  const ls_tensor tensor = make(LS_U8, shape, anyByte());
  for (int64_t i = 0; i < countOf(shape); i += shape.back()) fill(host(tensor) + i);
  return tensor;
}

Fuzz::FillRow Fuzz::kvRow(int64_t layout, int64_t nope, int64_t rope) {
  return [=](uint8_t* to) {
    if (values_ == Values::any) fill(LS_U8, kvEntryBytes(static_cast<int>(layout), nope, rope), to);
    else if (layout == LS_KV_F32) fill(LS_F32, nope + rope, to);
    else if (layout == LS_KV_BF16) fill(LS_BF16, nope + rope, to);
    else fill(LS_F8_E8M0, roundUp(nope, kKvBlock) / kKvBlock, fill(layout == LS_KV_E4M3_F32 ? LS_F32 : LS_BF16, rope, fill(LS_F8_E4M3, nope, to)));
  };
}

Fuzz::FillRow Fuzz::keyRow(int64_t layout, int64_t dim) {
  return [=](uint8_t* to) {
    if (values_ == Values::any) fill(LS_U8, keyBytes(static_cast<int>(layout), dim), to);
    else if (layout == LS_KEY_FP4) fill(LS_F8_E8M0, dim / kKeyBlock, fill(LS_F4_E2M1, dim, to));
    else fill(layout == LS_KEY_F32 ? LS_F32 : LS_BF16, dim, to);
  };
}

ls_tensor Fuzz::ints(std::vector<int64_t> shape, int64_t min, int64_t max) {
  const ls_tensor tensor = make(LS_I32, shape);
  indices_.push_back(tensor);
  for (int64_t i = 0; i < countOf(shape); i++) reinterpret_cast<int32_t*>(host(tensor))[i] = static_cast<int32_t>(random_.whole(min, max));
  return tensor;
}

ls_tensor Fuzz::tableOf(int64_t V, int64_t k, int64_t experts) {
  const ls_tensor tensor = make(LS_I64, {V, k}, anyByte());
  for (int64_t i = 0; i < V * k; i++) {
    const int64_t expert = random_.whole(0, experts - 1);
    std::memcpy(host(tensor) + i * 8, &expert, sizeof expert);
  }
  return tensor;
}

ls_tensor Fuzz::list(const std::vector<ls_tensor>& members) {
  ls_tensor tensor{};
  CHECK(api_->list_create(&tensor.list) == LS_OK);
  lists_.push_back(tensor.list);
  for (const ls_tensor& member : members) CHECK(api_->list_append(tensor.list, &member) == LS_OK);
  return tensor;
}

ls_tensor Fuzz::paged(int64_t count, int64_t bytes, int64_t offset, int64_t perPage, const FillRow& fill) {
  std::vector<ls_tensor> pages;
  for (int64_t begin = 0; begin < count; begin += perPage) {
    const int64_t rows = std::min(perPage, count - begin);
    pages.push_back(floats(LS_U8, {offset + rows * bytes}));
    for (int64_t row = 0; row < rows; row++) fill(host(pages.back()) + offset + row * bytes);
  }
  return list(pages);
}

// The weight and its scale (absent for plain formats).
void Fuzz::weight(int64_t N, int64_t K, ls_dtype dtype, std::vector<ls_tensor>& out) {
  out.push_back(floats(dtype, {N, K}));
  if (dtype == LS_F8_E4M3) out.push_back(floats(LS_F8_E8M0, {(N + 127) / 128, (K + 127) / 128}));
  else if (dtype == LS_F4_E2M1) out.push_back(floats(LS_F8_E8M0, {N, K / 32}));
  else out.push_back(absent());
}

std::vector<std::vector<uint8_t>> Fuzz::save() {
  std::vector<std::vector<uint8_t>> saved;
  for (ls_buffer* buffer : buffers_) {
    uint64_t bytes = 0;
    const uint8_t* data = api_->buffer_host(buffer, &bytes);
    saved.emplace_back(data, data + bytes);
  }
  return saved;
}

void Fuzz::restore(const std::vector<std::vector<uint8_t>>& saved) {
  for (size_t i = 0; i < saved.size(); i++) CHECK(api_->buffer_write(buffers_[i], 0, saved[i].data(), saved[i].size()) == LS_OK);
}

void Fuzz::forget() {
  for (ls_list* list : lists_) api_->list_release(list);
  for (ls_buffer* buffer : buffers_) api_->buffer_release(buffer);
  lists_.clear();
  indices_.clear();
  buffers_.clear();
}

// Damages one field of one tensor, one parameter, or the number of either.
void Fuzz::damage(Call& call) {
  static constexpr int64_t numbers[] = {-1, 0, 1, 2, 3, 31, 33, 64, 1 << 20, INT32_MAX, INT64_MAX};
  const int64_t number = numbers[random_.whole(0, 10)];
  ls_tensor& tensor = call.tensors[static_cast<size_t>(random_.whole(0, static_cast<int64_t>(call.tensors.size()) - 1))];
  switch (random_.whole(0, 7)) {
    case 0: {  // past the enum too, as a caller in C could
      const auto dtype = static_cast<uint32_t>(random_.whole(0, 9));
      std::memcpy(&tensor.dtype, &dtype, sizeof dtype);
      break;
    }
    case 1: tensor.rank = static_cast<uint32_t>(random_.whole(0, 9)); break;
    case 2: tensor.offset = static_cast<uint64_t>(number); break;
    case 3: tensor = absent(); break;
    case 4: call.tensors.pop_back(); break;
    case 5:
      if (!call.params.empty())
        call.params[static_cast<size_t>(random_.whole(0, static_cast<int64_t>(call.params.size()) - 1))] = static_cast<double>(number) * 0.5;
      break;
    case 6:
      if (!indices_.empty()) reinterpret_cast<int32_t*>(host(indices_.front()))[0] = static_cast<int32_t>(number);
      break;
    default: tensor.shape[random_.whole(0, 3)] = number;
  }
}

}  // namespace longshore::test
