// Decode steps: weights larger than any cache, mapped from a file of 4 GiB in the temporary folder (TMPDIR), and
// measured against reading the same memory once.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "limits.h"
#include "reading.h"
#include "session.h"
#include "shapes.h"

namespace longshore::bench {
namespace {

constexpr uint64_t kMappedBytes = uint64_t{4} << 30;
constexpr uint64_t kScaleBytes = kMappedBytes / 16;  // after the weights: as many as FP4 has

void writeAll(int file, const std::string& name, uint64_t bytes, const std::vector<uint8_t>& some) {
  for (uint64_t written = 0; written < bytes;) {
    const ssize_t count = write(file, some.data(), std::min(uint64_t{some.size()}, bytes - written));
    if (count < 0) std::exit((std::perror(name.c_str()), unlink(name.c_str()), 1));
    written += static_cast<uint64_t>(count);
  }
}

// Weights that are small finite numbers in every format, and scales of 2^-9 to 2^-6. The file is unlinked once it is
// mapped, so that nothing is left behind, however the process ends.
ls_buffer* mappedWeights() {
  static ls_buffer* mapped = nullptr;
  if (mapped != nullptr) return mapped;
  const char* folder = std::getenv("TMPDIR");
  std::string name = std::string(folder == nullptr ? "/tmp" : folder) + "/longshore-bench-XXXXXX";
  const int file = mkstemp(name.data());
  if (file < 0) std::exit((std::perror(name.c_str()), 1));
  std::vector<uint8_t> some(uint64_t{64} << 20);
  for (uint8_t& byte : some) byte = static_cast<uint8_t>(nextRandom() & 0xBF);
  writeAll(file, name, kMappedBytes, some);
  for (uint8_t& byte : some) byte = static_cast<uint8_t>(118 + (byte & 3));
  writeAll(file, name, kScaleBytes, some);
  const ls_status status = api->buffer_map(name.c_str(), &mapped);
  unlink(name.c_str());
  must(status);
  close(file);
  return mapped;
}

// Hands out the weights of the file one after the other, with their scales.
class Mapped {
 public:
  explicit Mapped(ls_dtype dtype) : dtype_(dtype) {}

  double bytesOf(int64_t N, int64_t K) const { return static_cast<double>(N * K) * (bytesPer(dtype_) + (dtype_ == LS_F4_E2M1 ? 1.0 / 32 : 0)); }
  bool holds(int64_t N, int64_t K) const { return static_cast<double>(weights_) + static_cast<double>(N * K) * bytesPer(dtype_) <= static_cast<double>(kMappedBytes); }

  // The next [N, K], then its scale.
  ls_tensor weight(int64_t N, int64_t K) { return next(weights_, dtype_, N, K); }
  ls_tensor scale(int64_t N, int64_t K) {
    const std::vector<int64_t> shape = scaleShape(dtype_, N, K);
    return shape.empty() ? kAbsent : next(scales_, LS_F8_E8M0, shape[0], shape[1]);
  }

 private:
  static ls_tensor next(uint64_t& offset, ls_dtype dtype, int64_t N, int64_t K) {
    ls_tensor t = {};
    t.buffer = mappedWeights();
    t.offset = offset;
    t.dtype = dtype;
    t.rank = 2;
    t.shape[0] = N, t.shape[1] = K;
    offset += static_cast<uint64_t>(static_cast<double>(N * K) * bytesPer(dtype));
    return t;
  }

  ls_dtype dtype_;
  uint64_t weights_ = 0, scales_ = kMappedBytes;
};

// Reads the mapped file and runs the calls of `rotation`, each of
// which touches `bytes` of it, in turns: memory has other users.
void measureDecode(const std::string& name, ls_op op, const std::vector<Operands>& rotation, const std::vector<double>& params, double bytes) {
  uint64_t size;
  const uint8_t* data = api->buffer_host(mappedWeights(), &size);
  runAll(op, rotation, params);  // page tables
  std::vector<double> rates, shares;
  for (int i = 0; i < kSamples; i++) {
    const double reading = readRate(data, size, threads), start = seconds();
    runAll(op, rotation, params);
    rates.push_back(bytes * static_cast<double>(rotation.size()) / (seconds() - start));
    shares.push_back(rates.back() / reading);
  }
  std::printf("%-44s %9.1f us %30.1f %% of reading %6.1f GB/s\n", name.c_str(), bytes / medianOf(rates) * 1e6, 100 * medianOf(shares), medianOf(rates) / 1e9);
}

}  // namespace

void decodeLinear(ls_dtype dtype, int64_t T, int64_t K, int64_t N) {
  const char* formats[] = {"f32", "bf16", "e4m3", "", "e2m1"};
  const std::string name = std::string("decode linear ") + formats[dtype] + " " + std::to_string(T) + " x " + std::to_string(K) + " x " + std::to_string(N);
  if (!wanted(name)) return;
  const ls_tensor x = tensor(LS_BF16, {T, K}), y = tensor(LS_BF16, {T, N});
  Mapped mapped(dtype);
  std::vector<Operands> rotation;
  while (mapped.holds(N, K)) rotation.push_back({x, mapped.weight(N, K), mapped.scale(N, K), y});
  measureDecode(name, LS_LINEAR, rotation, {1}, mapped.bytesOf(N, K));
}

void decodeExperts(ls_dtype dtype, int64_t d, int64_t I, int64_t k) {
  const std::string name = "decode experts " + std::to_string(k) + " of " + std::to_string(d) + " x " + std::to_string(I);
  if (!wanted(name)) return;
  const ls_tensor x = tensor(LS_BF16, {1, d}), share = tensor(LS_F32, {1, k}), y = tensor(LS_F32, {1, d});
  ls_tensor members = {};
  must(api->list_create(&members.list));
  Mapped mapped(dtype);
  int64_t count = 0;
  for (; mapped.holds(3 * I, d); count++) {
    for (int i = 0; i < 3; i++) {
      const int64_t N = i < 2 ? I : d, K = i < 2 ? d : I;
      const ls_tensor w = mapped.weight(N, K), s = mapped.scale(N, K);
      must(api->list_append(members.list, &w));
      must(api->list_append(members.list, &s));
    }
  }
  std::vector<Operands> rotation;
  for (int64_t e = 0; e + k <= count; e += k) {
    const ls_tensor idx = tensor(LS_I32, {1, k});
    for (int64_t j = 0; j < k; j++) reinterpret_cast<int32_t*>(hostOf(idx))[j] = static_cast<int32_t>(e + j);
    rotation.push_back({x, idx, share, members, y});
  }
  measureDecode(name, LS_EXPERTS, rotation, {10}, mapped.bytesOf(3 * I, d) * static_cast<double>(k));
}

void decodeHyper(int64_t T, int64_t d) {
  const std::string name = "decode hc_pre " + std::to_string(T) + " x " + std::to_string(d);
  if (!wanted(name)) return;
  const int64_t n = 4, outputs = 24;
  const ls_tensor streams = tensor(LS_BF16, {T, n, d}), base = tensor(LS_F32, {outputs}), scale = tensor(LS_F32, {3});
  const ls_tensor x = tensor(LS_BF16, {T, d}), post = tensor(LS_F32, {T, n}), comb = tensor(LS_F32, {T, n, n});
  Mapped mapped(LS_F32);
  std::vector<Operands> rotation;
  while (mapped.holds(outputs, n * d)) rotation.push_back({streams, mapped.weight(outputs, n * d), base, scale, x, post, comb});
  measureDecode(name, LS_HC_PRE, rotation, {1e-6, 1e-6, 20}, mapped.bytesOf(outputs, n * d));
}

}  // namespace longshore::bench
