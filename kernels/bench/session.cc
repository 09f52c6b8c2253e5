#include "session.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace longshore::bench {

const ls_backend_api* api;
ls_stream* stream;
uint32_t threads;
double peakGflops;
const char* filter = "";

void must(ls_status status) {
  if (status == LS_OK) return;
  std::fprintf(stderr, "bench: %s\n", api->last_error());
  std::exit(1);
}

uint32_t nextRandom() {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<uint32_t>(state >> 33);
}

uint8_t* hostOf(const ls_tensor& t) {
  uint64_t bytes;
  return api->buffer_host(t.buffer, &bytes);
}

double bytesPer(ls_dtype dtype) {
  switch (dtype) {
    case LS_F32: case LS_I32: return 4;
    case LS_BF16: return 2;
    case LS_I64: return 8;
    case LS_F4_E2M1: return 0.5;
    default: return 1;
  }
}

ls_tensor tensor(ls_dtype dtype, std::vector<int64_t> shape) {
  ls_tensor t = {};
  t.dtype = dtype;
  t.rank = static_cast<uint32_t>(shape.size());
  double count = 1;
  for (size_t i = 0; i < shape.size(); i++) count *= static_cast<double>(t.shape[i] = shape[i]);
  const auto bytes = static_cast<uint64_t>(count * bytesPer(dtype));
  must(api->buffer_create(std::max<uint64_t>(bytes, 1), &t.buffer));
  uint8_t* p = hostOf(t);
  for (uint64_t i = 0; i < bytes; i++) {
    const uint32_t r = nextRandom();
    if (dtype == LS_F32) p[i] = static_cast<uint8_t>(i % 4 == 3 ? 0x3D + (r & 0x80) : r);
    else if (dtype == LS_BF16) p[i] = static_cast<uint8_t>(i % 2 == 1 ? 0x3D + (r & 0x80) : r);
    else if (dtype == LS_F8_E8M0) p[i] = static_cast<uint8_t>(118 + r % 4);
    else if (dtype == LS_F8_E4M3) p[i] = static_cast<uint8_t>(r & 0xBF);
    else if (dtype == LS_F4_E2M1) p[i] = static_cast<uint8_t>(r);
  }
  return t;
}

double bytesOf(const Operands& operands) {
  double bytes = 0;
  for (const ls_tensor& t : operands) {
    double count = t.buffer != nullptr ? 1 : 0;
    for (uint32_t i = 0; i < t.rank; i++) count *= static_cast<double>(t.shape[i]);
    bytes += count * bytesPer(t.dtype);
  }
  return bytes;
}

void enqueue(ls_op op, const Operands& operands, const std::vector<double>& params) {
  must(api->enqueue(stream, op, operands.data(), static_cast<uint32_t>(operands.size()), params.data(), static_cast<uint32_t>(params.size())));
}

void runAll(ls_op op, const std::vector<Operands>& rotation, const std::vector<double>& params) {
  for (const Operands& operands : rotation) enqueue(op, operands, params);
  must(api->wait(stream));
}

bool wanted(const std::string& name) { return name.find(filter) != std::string::npos; }

std::vector<int64_t> scaleShape(ls_dtype dtype, int64_t N, int64_t K) {
  if (dtype == LS_F8_E4M3) return {(N + 127) / 128, (K + 127) / 128};
  if (dtype == LS_F4_E2M1) return {N, K / 32};
  return {};
}

ls_tensor scaleOf(ls_dtype dtype, int64_t N, int64_t K) {
  const std::vector<int64_t> shape = scaleShape(dtype, N, K);
  return shape.empty() ? kAbsent : tensor(LS_F8_E8M0, shape);
}

}  // namespace longshore::bench
