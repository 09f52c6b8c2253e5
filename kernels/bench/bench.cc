// Speed of the operations that matter, through the C ABI: longshore_bench BACKEND [PATH] [THREADS] [FILTER]
// One line a shape: time, GFLOP/s (a multiply-add is two, whatever the format), share of the machine's matrix peak, GB/s of operands.
// Weights of a decode step are larger than any cache and mapped from a file; there the share is that of reading the same memory once.
#include <dlfcn.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "longshore/kernels.h"
#include "limits.h"

namespace {

using longshore::bench::medianOf, longshore::bench::readRate, longshore::bench::sampled, longshore::bench::seconds;

constexpr double kShapeSeconds = 0.2;

const ls_backend_api* api;
ls_backend* backend;
ls_stream* stream;
double peakGflops;
uint32_t threads;
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

// Random, small and finite whatever the dtype. Lives until the process ends.
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

const ls_tensor kAbsent = {};

double bytesOf(const std::vector<ls_tensor>& tensors) {
  double bytes = 0;
  for (const ls_tensor& t : tensors) {
    double count = t.buffer != nullptr ? 1 : 0;
    for (uint32_t i = 0; i < t.rank; i++) count *= static_cast<double>(t.shape[i]);
    bytes += count * bytesPer(t.dtype);
  }
  return bytes;
}

void enqueue(ls_op op, const std::vector<ls_tensor>& tensors, const std::vector<double>& params) {
  must(api->enqueue(stream, op, tensors.data(), static_cast<uint32_t>(tensors.size()), params.data(), static_cast<uint32_t>(params.size())));
}

using Operands = std::vector<ls_tensor>;

void runAll(ls_op op, const std::vector<Operands>& rotation, const std::vector<double>& params) {
  for (const Operands& operands : rotation) enqueue(op, operands, params);
  must(api->wait(stream));
}

// Seconds of one call, the median of many.
double secondsOf(ls_op op, const Operands& operands, const std::vector<double>& params) {
  const auto run = [&](long times) {
    const double start = seconds();
    for (long i = 0; i < times; i++) enqueue(op, operands, params);
    must(api->wait(stream));
    return (seconds() - start) / static_cast<double>(times);
  };
  run(1);
  const long times = 1 + static_cast<long>(2e-3 / std::max(1e-6, run(1)));  // above the clock's grain
  std::vector<double> samples;
  for (const double end = seconds() + kShapeSeconds; samples.size() < 3 || seconds() < end;) samples.push_back(run(times));
  return medianOf(samples);
}

bool wanted(const std::string& name) { return name.find(filter) != std::string::npos; }

// `make` gives the operands; it is not asked where the filter leaves the shape out.
template <class Make>
void measure(const std::string& name, ls_op op, Make&& make, const std::vector<double>& params, double flops) {
  if (!wanted(name)) return;
  const Operands operands = make();
  const double seconds = secondsOf(op, operands, params);
  std::printf("%-44s %9.1f us %8.1f GFLOP/s %5.1f %% of peak %7.1f GB/s\n", name.c_str(), seconds * 1e6, flops / seconds / 1e9,
              flops / seconds / 1e7 / peakGflops, bytesOf(operands) / seconds / 1e9);
}

void measure(const std::string& name, ls_op op, const Operands& operands, const std::vector<double>& params, double flops) {
  measure(name, op, [&] { return operands; }, params, flops);
}

ls_tensor scaleOf(ls_dtype dtype, int64_t N, int64_t K) {
  if (dtype == LS_F8_E4M3) return tensor(LS_F8_E8M0, {(N + 127) / 128, (K + 127) / 128});
  return dtype == LS_F4_E2M1 ? tensor(LS_F8_E8M0, {N, K / 32}) : kAbsent;
}

void linear(const char* what, ls_dtype dtype, int64_t T, int64_t K, int64_t N) {
  const char* formats[] = {"f32", "bf16", "e4m3", "", "e2m1"};
  measure(std::string("linear ") + what + " " + formats[dtype] + " " + std::to_string(T) + " x " + std::to_string(K) + " x " + std::to_string(N), LS_LINEAR,
          [&]() -> Operands { return {tensor(LS_BF16, {T, K}), tensor(dtype, {N, K}), scaleOf(dtype, N, K), tensor(LS_BF16, {T, N})}; }, {1}, 2.0 * T * K * N);
}

ls_tensor expertList(int64_t d, int64_t I, int64_t E) {
  ls_tensor member = {};
  must(api->list_create(&member.list));
  for (int64_t e = 0; e < E; e++) {
    for (const auto& [N, K] : {std::pair{I, d}, {I, d}, {d, I}}) {
      const ls_tensor w = tensor(LS_F4_E2M1, {N, K}), s = scaleOf(LS_F4_E2M1, N, K);
      must(api->list_append(member.list, &w));
      must(api->list_append(member.list, &s));
    }
  }
  return member;
}

// k different ones for each row.
ls_tensor routes(int64_t T, int64_t E, int64_t k) {
  const ls_tensor idx = tensor(LS_I32, {T, k});
  auto* ids = reinterpret_cast<int32_t*>(hostOf(idx));
  for (int64_t t = 0; t < T; t++) {
    for (int64_t j = 0; j < k; j++) ids[t * k + j] = static_cast<int32_t>(E / k * j + nextRandom() % (E / k));
  }
  return idx;
}

void experts(const char* what, int64_t T, int64_t d, int64_t I, int64_t E, int64_t k) {
  measure(std::string("experts ") + what + " " + std::to_string(T) + " rows", LS_EXPERTS,
          [&]() -> Operands { return {tensor(LS_BF16, {T, d}), routes(T, E, k), tensor(LS_F32, {T, k}), expertList(d, I, E), tensor(LS_F32, {T, d})}; }, {10},
          6.0 * T * k * d * I);
}

// Pages of 128 rows, packed by the backend itself.
ls_tensor pages(ls_op op, int64_t rows, int64_t width, int64_t bytes, const std::vector<double>& params) {
  ls_tensor result = {};
  must(api->list_create(&result.list));
  for (int64_t i = 0; i < rows; i += 128) {
    ls_tensor page = tensor(LS_U8, {128, bytes});
    const std::vector<ls_tensor> pack = {tensor(LS_BF16, {128, width}), page};
    enqueue(op, pack, params);
    page.rank = 1;
    page.shape[0] = 128 * bytes;
    must(api->list_append(result.list, &page));
  }
  must(api->wait(stream));
  return result;
}

ls_tensor packed(ls_op op, int64_t rows, int64_t width, int64_t bytes, const std::vector<double>& params) {
  const std::vector<ls_tensor> pack = {tensor(LS_BF16, {rows, width}), tensor(LS_U8, {rows, bytes})};
  enqueue(op, pack, params);
  must(api->wait(stream));
  return pack[1];
}

// m = 0: window only; K = 0: all compressed entries.
void attention(const char* what, int64_t T, int64_t h, int64_t D, int64_t start, int64_t m, int64_t K) {
  const int64_t W = 128, rope = 64, nope = D - rope, bytes = (nope + 2 * rope + (nope + 63) / 64 + 7) / 8 * 8, visible = m > 0 ? (start + T) / m : 0;
  const std::vector<double> layout = {LS_KV_E4M3_BF16, static_cast<double>(rope)};
  const auto make = [&]() -> Operands {
    ls_tensor sel = kAbsent;
    if (K > 0) {
      sel = tensor(LS_I32, {T, K});
      auto* ids = reinterpret_cast<int32_t*>(hostOf(sel));
      for (int64_t i = 0; i < T * K; i++) ids[i] = static_cast<int32_t>(i % K * ((start + 1) / m / K) + nextRandom() % ((start + 1) / m / K));
    }
    return {tensor(LS_BF16, {T, h, D}), packed(LS_KV_PACK, T, D, bytes, layout), packed(LS_KV_PACK, W, D, bytes, layout), tensor(LS_F32, {h}), sel,
            m > 0 ? pages(LS_KV_PACK, visible, D, bytes, layout) : kAbsent, tensor(LS_BF16, {T, h, D})};
  };
  measure(std::string("attention ") + what + " " + std::to_string(T) + " at " + std::to_string(start), LS_ATTENTION, make,
          {static_cast<double>(start), 0, static_cast<double>(m), LS_KV_E4M3_BF16, static_cast<double>(rope), 0, 128, 0.0625},
          4.0 * T * h * D * static_cast<double>(W + (K > 0 ? K : visible)));
}

constexpr int64_t kBenchKeys = 262'144;  // a context of a million tokens

void select(const char* what, int64_t T, int64_t h, int64_t start, int64_t K) {
  const int64_t dim = 128, bytes = dim / 2 + dim / 32, keys = (start + T) / 4;
  const auto make = [&]() -> Operands {
    ls_tensor iq = packed(LS_KEY_PACK, T * h, dim, bytes, {LS_KEY_FP4});
    iq.rank = 3;
    iq.shape[0] = T, iq.shape[1] = h, iq.shape[2] = bytes;
    return {iq, tensor(LS_F32, {T, h}), pages(LS_KEY_PACK, keys, dim, bytes, {LS_KEY_FP4}), tensor(LS_I32, {T, K}), kAbsent};
  };
  measure(std::string("select ") + what + " " + std::to_string(T) + " x " + std::to_string(keys) + " keys", LS_SELECT, make,
          {static_cast<double>(start), 4, LS_KEY_FP4, static_cast<double>(dim), 0, 128, 0.05}, 2.0 * T * h * dim * keys);
}

void hyper(const char* what, int64_t T, int64_t d) {
  const int64_t n = 4, outputs = 24;
  const auto streams = [&] { return tensor(LS_BF16, {T, n, d}); };
  const auto post = [&] { return tensor(LS_F32, {T, n}); };
  const auto comb = [&] { return tensor(LS_F32, {T, n, n}); };
  const auto x = [&] { return tensor(LS_BF16, {T, d}); };
  measure(std::string("hc_pre ") + what + " " + std::to_string(T), LS_HC_PRE,
          [&]() -> Operands { return {streams(), tensor(LS_F32, {outputs, n * d}), tensor(LS_F32, {outputs}), tensor(LS_F32, {3}), x(), post(), comb()}; },
          {1e-6, 1e-6, 20}, 2.0 * T * n * d * outputs);
  const auto inPlace = [&]() -> Operands {
    const ls_tensor all = streams();
    return {x(), all, post(), comb(), all};
  };
  measure(std::string("hc_post ") + what + " " + std::to_string(T), LS_HC_POST, inPlace, {}, 2.0 * T * n * n * d);
}

// What a layer does besides: flops are counted as one an element.
void rows(const char* what, int64_t T, int64_t d, int64_t h, int64_t D) {
  const std::string tail = std::string(" ") + what + " " + std::to_string(T);
  const double elements = static_cast<double>(T * h * D);
  measure("rms_norm" + tail, LS_RMS_NORM, {tensor(LS_BF16, {T * h, D}), kAbsent, tensor(LS_BF16, {T * h, D})}, {1e-6}, elements);
  measure("rope" + tail, LS_ROPE, {tensor(LS_BF16, {T, h, D}), tensor(LS_F32, {T, 32, 2})}, {1}, elements);
  measure("rope_table" + tail, LS_ROPE_TABLE, {tensor(LS_I32, {T}), tensor(LS_F32, {32}), tensor(LS_F32, {T, 32, 2})}, {}, elements);
  const int64_t nope = D - 64, bytes = (nope + 128 + nope / 64 + 7) / 8 * 8;
  measure("kv_pack" + tail, LS_KV_PACK, {tensor(LS_BF16, {T, D}), tensor(LS_U8, {T, bytes})}, {LS_KV_E4M3_BF16, 64}, static_cast<double>(T * D));
  measure("key_pack" + tail, LS_KEY_PACK, {tensor(LS_BF16, {T * h, 128}), tensor(LS_U8, {T * h, 68})}, {LS_KEY_FP4}, static_cast<double>(T * h * 128));
  const auto compress = [&](int64_t m, int64_t copies) {  // copies of the channels: two where windows overlap
    const int64_t w = copies * D;
    measure("compress " + std::to_string(m) + tail, LS_COMPRESS,
            {tensor(LS_F32, {T, w}), tensor(LS_F32, {T, w}), tensor(LS_F32, {m, w}), tensor(LS_F32, {copies * m, 2, w}), tensor(LS_BF16, {T / m, D})},
            {0, static_cast<double>(m), copies - 1.0}, 1.0 * T * w);
  };
  compress(4, 2);
  compress(128, 1);
  measure("add" + tail, LS_ADD, {tensor(LS_F32, {T, d}), tensor(LS_F32, {T, d}), tensor(LS_BF16, {T, d})}, {1}, static_cast<double>(T * d));
}

// ---- decode: weights from a file that no cache holds

constexpr uint64_t kMappedBytes = uint64_t{4} << 30;

// Bytes that are small finite numbers in every format; the file has no name any more.
ls_buffer* mappedWeights() {
  static ls_buffer* mapped = nullptr;
  if (mapped != nullptr) return mapped;
  char name[] = "/tmp/longshore-bench-XXXXXX";
  const int file = mkstemp(name);
  std::vector<uint8_t> some(uint64_t{64} << 20);
  for (uint8_t& byte : some) byte = static_cast<uint8_t>(nextRandom() & 0xBF);
  for (uint64_t written = 0; written < kMappedBytes; written += some.size()) {
    if (write(file, some.data(), some.size()) != static_cast<ssize_t>(some.size())) std::exit((std::perror("bench"), 1));
  }
  must(api->buffer_map(name, &mapped));
  unlink(name);
  close(file);
  return mapped;
}

// The next [N, K] of the file.
ls_tensor weights(ls_dtype dtype, int64_t N, int64_t K, uint64_t& offset) {
  ls_tensor t = {};
  t.buffer = mappedWeights();
  t.offset = offset;
  t.dtype = dtype;
  t.rank = 2;
  t.shape[0] = N, t.shape[1] = K;
  offset += static_cast<uint64_t>(static_cast<double>(N * K) * bytesPer(dtype));
  return t;
}

// Reading the mapped file and the calls of `rotation`, which touch `bytes` of it each, by turns: memory has many users.
void measureDecode(const std::string& name, ls_op op, const std::vector<Operands>& rotation, const std::vector<double>& params, double bytes) {
  uint64_t size;
  const uint8_t* data = api->buffer_host(mappedWeights(), &size);
  runAll(op, rotation, params);  // page tables
  std::vector<double> rates, shares;
  for (int i = 0; i < longshore::bench::kSamples; i++) {
    const double reading = readRate(data, size, threads), start = seconds();
    runAll(op, rotation, params);
    rates.push_back(bytes * static_cast<double>(rotation.size()) / (seconds() - start));
    shares.push_back(rates.back() / reading);
  }
  std::printf("%-44s %9.1f us %30.1f %% of reading %6.1f GB/s\n", name.c_str(), bytes / medianOf(rates) * 1e6, 100 * medianOf(shares), medianOf(rates) / 1e9);
}

void decodeLinear(ls_dtype dtype, int64_t T, int64_t K, int64_t N) {
  const char* formats[] = {"f32", "bf16", "e4m3", "", "e2m1"};
  const std::string name = std::string("decode linear ") + formats[dtype] + " " + std::to_string(T) + " x " + std::to_string(K) + " x " + std::to_string(N);
  if (!wanted(name)) return;
  const double bytes = static_cast<double>(N * K) * bytesPer(dtype);
  const ls_tensor x = tensor(LS_BF16, {T, K}), scale = scaleOf(dtype, N, K), y = tensor(LS_BF16, {T, N});
  std::vector<Operands> rotation;
  for (uint64_t offset = 0; static_cast<double>(offset) + bytes <= static_cast<double>(kMappedBytes);) rotation.push_back({x, weights(dtype, N, K, offset), scale, y});
  measureDecode(name, LS_LINEAR, rotation, {1}, bytes);
}

// One token, six of many experts, each used once before any is used again.
void decodeExperts(ls_dtype dtype, int64_t d, int64_t I, int64_t k) {
  const std::string name = "decode experts " + std::to_string(k) + " of " + std::to_string(d) + " x " + std::to_string(I);
  if (!wanted(name)) return;
  const ls_tensor x = tensor(LS_BF16, {1, d}), share = tensor(LS_F32, {1, k}), y = tensor(LS_F32, {1, d}), s1 = scaleOf(dtype, I, d), s2 = scaleOf(dtype, d, I);
  ls_tensor members = {};
  must(api->list_create(&members.list));
  const double bytes = 3.0 * static_cast<double>(d * I) * bytesPer(dtype);
  int64_t count = 0;
  for (uint64_t offset = 0; static_cast<double>(offset) + bytes <= static_cast<double>(kMappedBytes); count++) {
    for (int i = 0; i < 3; i++) {
      const ls_tensor w = i < 2 ? weights(dtype, I, d, offset) : weights(dtype, d, I, offset);
      must(api->list_append(members.list, &w));
      must(api->list_append(members.list, i < 2 ? &s1 : &s2));
    }
  }
  std::vector<Operands> rotation;
  for (int64_t e = 0; e + k <= count; e += k) {
    const ls_tensor idx = tensor(LS_I32, {1, k});
    for (int64_t j = 0; j < k; j++) reinterpret_cast<int32_t*>(hostOf(idx))[j] = static_cast<int32_t>(e + j);
    rotation.push_back({x, idx, share, members, y});
  }
  measureDecode(name, LS_EXPERTS, rotation, {10}, bytes * static_cast<double>(k));
}

void decode() {
  for (const int64_t T : {1, 16}) {
    decodeLinear(LS_BF16, T, 4096, 4096);
    decodeLinear(LS_F8_E4M3, T, 4096, 4096);
    decodeLinear(LS_F8_E4M3, T, 1024, 32768);
    decodeLinear(LS_F8_E4M3, T, 8192, 4096);
    decodeLinear(LS_F4_E2M1, T, 4096, 4096);
  }
  decodeExperts(LS_F4_E2M1, 4096, 2048, 6);
}

void yardlog() {
  for (const int64_t T : {512, 16, 1}) {
    linear("yardlog", LS_F8_E4M3, T, 256, 1024);
    linear("yardlog", LS_F8_E4M3, T, 256, 256);
  }
  linear("yardlog", LS_BF16, 512, 256, 4);
  linear("yardlog", LS_BF16, 512, 256, 512);
  experts("yardlog", 512, 256, 128, 4, 2);
  experts("yardlog", 1, 256, 128, 4, 2);
  attention("yardlog window", 512, 4, 256, 50000, 0, 0);
  attention("yardlog selected", 512, 4, 256, 50000, 4, 64);
  attention("yardlog dense", 512, 4, 256, 50000, 128, 0);
  attention("yardlog dense", 1, 4, 256, 50000, 128, 0);
  select("yardlog", 2048, 4, 4 * kBenchKeys - 2048, 64);
  select("yardlog", 1, 4, 4 * kBenchKeys - 1, 64);
  hyper("yardlog", 512, 256);
  rows("yardlog", 512, 256, 4, 256);
}

void flash() {
  for (const int64_t T : {512, 1}) {
    linear("flash", LS_F8_E4M3, T, 4096, 1024);
    linear("flash", LS_F8_E4M3, T, 1024, 8192);
    linear("flash", LS_F8_E4M3, T, 8192, 2048);
    linear("flash", LS_BF16, T, 4096, 2048);
    linear("flash", LS_F4_E2M1, T, 4096, 2048);
    hyper("flash", T, 4096);
  }
  experts("flash", 192, 4096, 2048, 16, 4);  // 48 rows each
  for (const int64_t T : {128, 1}) {
    attention("flash selected", T, 64, 512, 100000, 4, 512);
    attention("flash dense", T, 64, 512, 1048576, 128, 0);
  }
  for (const int64_t T : {256, 1}) select("flash", T, 64, 4 * kBenchKeys - T, 512);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: longshore_bench BACKEND.so [PATH] [THREADS] [FILTER]\n");
    return 2;
  }
  void* library = dlopen(argv[1], RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "bench: %s\n", dlerror());
    return 1;
  }
  api = reinterpret_cast<decltype(&ls_backend_entry)>(dlsym(library, "ls_backend_entry"))(LS_ABI_VERSION);
  threads = argc > 3 ? static_cast<uint32_t>(std::atoi(argv[3])) : 1;
  if (argc > 4) filter = argv[4];
  must(api->open(argc > 2 ? argv[2] : nullptr, threads, &backend));
  must(api->stream_create(backend, &stream));
  const longshore::bench::Unit unit = longshore::bench::matrixUnit();
  peakGflops = medianOf(sampled([&] { return unitRate(unit, threads); })) / 1e9;
  std::printf("%s: %.0f GFLOP/s on %u threads\n", unit.key, peakGflops, threads);
  yardlog();
  flash();
  decode();
}
