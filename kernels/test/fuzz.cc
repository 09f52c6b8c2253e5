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

double number(int64_t x) { return static_cast<double>(x); }

}  // namespace

int64_t bytesOf(const ls_tensor& tensor) { return bytesOf(tensor.dtype, countOf({tensor.shape, tensor.shape + tensor.rank})); }

Runner::Runner(const ls_backend_api* api, const char* path, uint32_t threads) : api_(api) {
  CHECK(api->open(path, threads, &backend_) == LS_OK && api->stream_create(backend_, &stream_) == LS_OK);
}

Runner::~Runner() {
  api_->stream_release(stream_);
  api_->close(backend_);
}

ls_status Runner::run(const Call& call) const {
  const ls_status status = api_->enqueue(stream_, call.op, call.tensors.data(), static_cast<uint32_t>(call.tensors.size()), call.params.data(),
                                         static_cast<uint32_t>(call.params.size()));
  CHECK(api_->wait(stream_) == status);
  return status;
}

void Runner::mustRun(const Call& call) const {
  const ls_status status = run(call);
  if (status != LS_OK) std::fprintf(stderr, "%s\n", api_->last_error());
  CHECK(status == LS_OK);
}

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

// Returns the end of what it wrote.
uint8_t* Fuzz::fill(ls_dtype dtype, int64_t count, uint8_t* to) {
  uint8_t* const end = to + bytesOf(dtype, count);
  while (to < end) {
    const float value = random_.unit();
    const uint16_t half = bf16Encode(value);
    uint8_t byte = static_cast<uint8_t>(random_.u32());
    if (values_ == Values::sound && dtype == LS_F8_E4M3 && (byte & 0x7F) == 0x7F) byte ^= 1;
    if (values_ == Values::sound && dtype == LS_F8_E8M0) byte = static_cast<uint8_t>(127 - 8 + byte % 5);
    const size_t size = dtype == LS_F32 ? sizeof value : dtype == LS_BF16 ? sizeof half : sizeof byte;
    std::memcpy(to, dtype == LS_F32 ? static_cast<const void*>(&value) : dtype == LS_BF16 ? static_cast<const void*>(&half) : &byte, size);
    to += size;
  }
  return end;
}

ls_tensor Fuzz::floats(ls_dtype dtype, std::vector<int64_t> shape, uint64_t offset) {
  const ls_tensor tensor = make(dtype, shape, offset);
  fill(dtype, countOf(shape), host(tensor));
  return tensor;
}

// Any bits, infinities, denormals and all kinds of NaN far more often than by chance.
ls_tensor Fuzz::corners(ls_dtype dtype, std::vector<int64_t> shape) {
  static constexpr uint8_t bytes[] = {0x00, 0x7F, 0x80, 0xFF};
  const ls_tensor tensor = make(dtype, shape, anyByte());
  for (int64_t i = 0; i < bytesOf(tensor); i++) host(tensor)[i] = random_.whole(0, 1) == 0 ? bytes[random_.whole(0, 3)] : static_cast<uint8_t>(random_.u32());
  return tensor;
}

// Multiples of `step`: as different as that, or the same.
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

Call Fuzz::rowsCall(ls_op op) {
  const int64_t T = any(7), C = wide(90), h = any(4), V = any(9), repeat = any(3);
  const ls_dtype a = activation();
  switch (op) {
    case LS_EMBED: return {op, {ints({T}, 0, V - 1), floats(activation(), {V, C}), make(a, {T, h, C})}, {}};
    case LS_RMS_NORM: return {op, {floats(a, {T, C}), floats(activation(), {C}), make(a, {T, C})}, {1e-6}};
    case LS_ROPE_TABLE: return {op, {ints({T}, 0, 1 << 20), floats(LS_F32, {C}), make(LS_F32, {T, C, 2})}, {}};
    case LS_ROPE: return {op, {floats(a, {T, h, 2 * C + V}, kAligned), floats(LS_F32, {T, C, 2})}, {-1}};
    case LS_ADD: return {op, {floats(activation(), {T * repeat, C}), floats(activation(), {T, C}), make(a, {T * repeat, C})}, {number(repeat)}};
    case LS_GATHER: return {op, {floats(LS_U8, {V, C}), ints({T}, 0, V - 1), make(LS_U8, {T, C})}, {}};
    default: return {op, {values_ == Values::any ? corners(activation(), {T, C}) : floats(activation(), {T, C}), make(a, {T, C})}, {}};
  }
}

Call Fuzz::hyperCall(ls_op op) {
  const int64_t T = any(7), n = any(5), d = wide(90), mixes = (2 + n) * n;
  const ls_dtype a = activation();
  const ls_tensor streams = floats(a, {T, n, d}, op == LS_HC_POST ? kAligned : anyByte());
  if (op == LS_HC_PRE)
    return {op,
            {streams, floats(LS_F32, {mixes, n * d}), floats(LS_F32, {mixes}), floats(LS_F32, {3}), make(a, {T, d}), make(LS_F32, {T, n}),
             make(LS_F32, {T, n, n})},
            {1e-6, 1e-6, 20}};
  if (op == LS_HC_POST) return {op, {floats(a, {T, d}), streams, floats(LS_F32, {T, n}), floats(LS_F32, {T, n, n}), streams}, {}};
  return {op, {streams, floats(LS_F32, {n, n * d}), floats(LS_F32, {n}), floats(LS_F32, {1}), make(a, {T, d})}, {1e-6, 1e-6}};
}

Call Fuzz::storedCall(ls_op op) {
  const int64_t T = any(20), nope = wide(200), rope = 2 * random_.whole(0, 20), D = nope + rope, start = random_.whole(0, 40);
  const int64_t layout = random_.whole(0, 3), key = random_.whole(0, 2), bytes = kvEntryBytes(static_cast<int>(layout), nope, rope);
  const int64_t dim = int64_t{32} << random_.whole(0, 2), m = any(8), overlap = random_.whole(0, 1);
  const int64_t row = keyBytes(static_cast<int>(key), dim), w = (1 + overlap) * nope;
  switch (op) {
    case LS_KV_PACK: return {op, {floats(activation(), {T, D}), make(LS_U8, {T, bytes})}, {number(layout), number(rope)}};
    case LS_KV_UNPACK: return {op, {rowsOf({T, bytes}, kvRow(layout, nope, rope)), make(LS_F32, {T, D})}, {number(layout), number(rope)}};
    case LS_KEY_PACK: return {op, {floats(activation(), {T, dim}), make(LS_U8, {T, row})}, {number(key)}};
    case LS_KEY_UNPACK: return {op, {rowsOf({T, row}, keyRow(key, dim)), make(LS_F32, {T, dim})}, {number(key)}};
    case LS_WINDOW_PUT: return {op, {floats(LS_U8, {T, bytes}), make(LS_U8, {m, bytes})}, {number(start)}};
    default:
      return {op,
              {floats(LS_F32, {T, w}), floats(LS_F32, {T, w}), floats(LS_F32, {m, w}), make(LS_F32, {(1 + overlap) * m, 2, w}),
               make(activation(), {(start + T) / m - start / m, nope})},
              {number(start), number(m), number(overlap)}};
  }
}

Call Fuzz::pagedCall(ls_op op) {
  const int64_t T = any(7), h = any(5), K = any(40), m = any(4), start = random_.whole(0, op == LS_SELECT ? 900 : 200), visible = (start + T) / m;
  const int64_t offset = random_.whole(0, 9), perPage = any(40);
  if (op == LS_SELECT) {
    const int64_t layout = random_.whole(0, 2), dim = int64_t{32} << random_.whole(0, 2), bytes = keyBytes(static_cast<int>(layout), dim);
    return {op,
            {rowsOf({T, h, bytes}, keyRow(layout, dim)), floats(LS_F32, {T, h}), paged(visible, bytes, offset, perPage, keyRow(layout, dim)),
             make(LS_I32, {T, K}), make(LS_F32, {T, visible + 1})},
            {number(start), number(m), number(layout), number(dim), number(offset), number(perPage), 0.5}};
  }
  const int64_t layout = random_.whole(0, 3), nope = wide(150), rope = 2 * random_.whole(0, 20), W = any(20);
  const int64_t bytes = kvEntryBytes(static_cast<int>(layout), nope, rope);
  const ls_dtype a = activation();
  ls_tensor sel = absent();
  if (random_.whole(0, 1) == 1) {
    sel = ints({T, K}, -1, -1);
    for (int64_t i = 0; i < T; i++)
      for (int64_t j = 0; j < std::min(K, (start + i + 1) / m); j++) reinterpret_cast<int32_t*>(host(sel))[i * K + j] = static_cast<int32_t>(j);
  }
  return {op,
          {floats(a, {T, h, nope + rope}), rowsOf({T, bytes}, kvRow(layout, nope, rope)), rowsOf({W, bytes}, kvRow(layout, nope, rope)),
           floats(LS_F32, {h}), sel, paged(visible, bytes, offset, perPage, kvRow(layout, nope, rope)), make(a, {T, h, nope + rope})},
          {number(start), 0, number(m), number(layout), number(rope), number(offset), number(perPage), 0.1}};
}

Call Fuzz::weightCall(ls_op op) {
  static constexpr ls_dtype formats[] = {LS_F32, LS_BF16, LS_F8_E4M3, LS_F4_E2M1};
  const ls_dtype format = formats[random_.whole(0, 3)], a = activation();
  const bool fp4 = format == LS_F4_E2M1;
  const int64_t T = any(9), g = any(3), K = fp4 ? 32 * any(6) : wide(150), N = fp4 ? 32 * any(4) : wide(90), V = any(9);
  const int64_t E = any(op == LS_ROUTE ? 300 : 6), k = random_.whole(1, std::min(E, int64_t{8}));
  if (op == LS_LINEAR) {
    std::vector<ls_tensor> tensors = {floats(a, {T, g * K})};
    weight(g * N, K, format, tensors);
    tensors.push_back(make(LS_F32, {T, g * N}));
    return {op, tensors, {number(g)}};
  }
  if (op == LS_ROUTE) {
    const bool hashed = random_.whole(0, 1) == 1;
    const ls_tensor table = hashed ? tableOf(V, k, E) : absent(), ids = hashed ? ints({T}, 0, V - 1) : absent();
    return {op, {onGrid({T, E}, 60, 0.05f), onGrid({E}, 1, 8), table, ids, make(LS_I32, {T, k}), make(LS_F32, {T, k})}, {1.5}};
  }
  std::vector<ls_tensor> experts;
  for (int64_t e = 0; e < E; e++) {
    weight(N, K, format, experts);
    weight(N, K, format, experts);
    weight(K, N, format, experts);
  }
  const ls_tensor idx = ints({T, k}, 0, 0);
  for (int64_t i = 0; i < T * k; i++) reinterpret_cast<int32_t*>(host(idx))[i] = static_cast<int32_t>(i % k);
  return {op, {floats(a, {T, K}), idx, floats(LS_F32, {T, k}), list(experts), make(LS_F32, {T, K})}, {10}};
}

Call Fuzz::call(ls_op op) {
  switch (op) {
    case LS_HC_PRE:
    case LS_HC_POST:
    case LS_HC_HEAD: return hyperCall(op);
    case LS_KV_PACK:
    case LS_KV_UNPACK:
    case LS_KEY_PACK:
    case LS_KEY_UNPACK:
    case LS_WINDOW_PUT:
    case LS_COMPRESS: return storedCall(op);
    case LS_SELECT:
    case LS_ATTENTION: return pagedCall(op);
    case LS_LINEAR:
    case LS_ROUTE:
    case LS_EXPERTS: return weightCall(op);
    default: return rowsCall(op);
  }
}

// One field of one tensor, one parameter, or the number of either.
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
