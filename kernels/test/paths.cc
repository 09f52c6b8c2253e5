// The paths against each other, as in test/contract/kernels.test.ts, for machines without
// Node: those of one order give the same bits, whatever the number of threads, and all
// are near the reference. Digests of the bits can be compared with another machine's.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "../cpu/formats.h"
#include "check.h"
#include "fuzz.h"

namespace longshore::test {

using namespace longshore::cpu;

namespace {

// Paths that give the same bits, as in test/support/kernels/orders.ts.
const std::vector<std::vector<std::string>> kOrders = {{"portable", "neon", "avx2", "avx512"}, {"portablebf16", "avx512bf16"}, {"portableamx", "amx"}};

bool isFloat(ls_dtype dtype) { return dtype == LS_F32 || dtype == LS_BF16; }

// An operand after a call: floats as the bits of fp32, with all NaNs alike since processors differ in which they make;
// anything else byte by byte.
struct Operand {
  ls_dtype dtype;
  int64_t width;  // of a row
  std::vector<uint32_t> words;
};

Operand read(const ls_tensor& tensor, const uint8_t* data) {
  Operand operand = {tensor.dtype, tensor.shape[tensor.rank - 1], {}};
  const size_t size = tensor.dtype == LS_F32 ? 4 : tensor.dtype == LS_BF16 ? 2 : 1;
  for (const uint8_t* const end = data + bytesOf(tensor); data < end; data += size) {
    uint32_t word = 0;
    std::memcpy(&word, data, size);
    if (tensor.dtype == LS_BF16) word <<= 16;
    operand.words.push_back(isFloat(tensor.dtype) && std::isnan(fromBits(word)) ? bitsOf(NAN) : word);
  }
  return operand;
}

std::vector<Operand> results(const Runner& runner, const Call& call, Fuzz& fuzz) {
  runner.mustRun(call);
  std::vector<Operand> all;
  for (const ls_tensor& tensor : call.tensors)
    if (tensor.buffer != nullptr) all.push_back(read(tensor, fuzz.host(tensor)));
  return all;
}

// The share of a row's largest value by which a float output may differ from the reference (ls_tolerance in kernels.h).
float shareOf(const ls_backend_api* api, const Call& call) {
  if (api->tolerance(call.op, call.op == LS_SELECT ? 1 : 0) == LS_BITS) return 0;
  return (call.op == LS_ATTENTION || call.op == LS_EXPERTS) && call.tensors[0].dtype == LS_BF16 ? 0x1p-8f : 1e-5f;
}

bool isNear(float y, float reference, float bound, ls_dtype dtype) {
  if (dtype == LS_BF16) bound += std::ldexp(1.0f, std::ilogb(std::max({std::fabs(y), std::fabs(reference), 0x1p-100f})) - 7);
  return y == reference || std::fabs(y - reference) <= bound;
}

// The first value that is not near; the count if all are.
size_t firstFar(const Operand& y, const Operand& reference, float share) {
  const auto width = static_cast<size_t>(y.width);
  for (size_t i = 0; i < y.words.size(); i++) {
    float largest = 0;
    for (size_t k = i / width * width; k < (i / width + 1) * width; k++)
      if (const float v = std::fabs(fromBits(reference.words[k])); std::isfinite(v)) largest = std::max(largest, v);
    if (!isNear(fromBits(y.words[i]), fromBits(reference.words[i]), share * largest, y.dtype)) return i;
  }
  return y.words.size();
}

size_t firstOther(const Operand& y, const Operand& expected) {
  return static_cast<size_t>(std::mismatch(y.words.begin(), y.words.end(), expected.words.begin()).first - y.words.begin());
}

// One order of operations: its paths on this machine, each with one and with three threads, on the same calls.
class Order {
 public:
  Order(const ls_backend_api* api, const std::vector<std::string>& paths, uint64_t seed) : api_(api), seed_(seed), reference_(api, "reference", 1) {
    for (const std::string& path : paths)
      for (const uint32_t threads : {1u, 3u}) runners_.push_back({path, std::make_unique<Runner>(api, path.c_str(), threads)});
  }

  uint64_t digest(ls_op op, int rounds) {
    uint64_t digest = 0xCBF29CE484222325u;  // FNV-1a
    const auto add = [&](const Call& call, Fuzz& fuzz, Values values) {
      for (const Operand& operand : check(call, fuzz, values))
        for (const uint32_t word : operand.words) digest = (digest ^ word) * 0x100000001B3u;
      fuzz.forget();
    };
    for (const Values values : {Values::any, Values::sound}) {
      Fuzz fuzz(api_, seed_ + op, values);
      for (int round = 0; round < rounds; round++) add(fuzz.call(op), fuzz, values);
    }
    if (op == LS_LINEAR) {  // tiles: one thread multiplies panels, over two pieces of K; three have so few rows each that sums stay in tiles
      Fuzz fuzz(api_, seed_, Values::sound);
      for (const ls_dtype format : {LS_BF16, LS_F8_E4M3, LS_F4_E2M1}) add(fuzz.linear(LS_BF16, format, 72, 1120, 136, 1), fuzz, Values::sound);
      add(fuzz.linear(LS_F32, LS_BF16, 72, 1120, 136, 1), fuzz, Values::sound);
    }
    return digest;
  }

 private:
  struct Named {
    std::string path;
    std::unique_ptr<Runner> runner;
  };

  std::vector<Operand> check(const Call& call, Fuzz& fuzz, Values values) const {
    const auto before = fuzz.save();
    const std::vector<Operand> first = results(*runners_.front().runner, call, fuzz);
    for (const Named& other : runners_) {
      fuzz.restore(before);
      const std::vector<Operand> same = results(*other.runner, call, fuzz);
      for (size_t i = 0; i < first.size(); i++) require(call, other.path, i, same[i], first[i], firstOther(same[i], first[i]));
    }
    if (values == Values::any) return first;
    fuzz.restore(before);
    const std::vector<Operand> expected = results(reference_, call, fuzz);
    const float share = shareOf(api_, call);
    for (size_t i = 0; i < first.size(); i++) {
      if (call.op == LS_SELECT && first[i].dtype == LS_I32 && call.params[2] != LS_KEY_FP4) continue;  // the choice among scores that are only near
      const size_t at = isFloat(first[i].dtype) ? firstFar(first[i], expected[i], share) : firstOther(first[i], expected[i]);
      require(call, runners_.front().path, i, first[i], expected[i], at);
    }
    return first;
  }

  void require(const Call& call, const std::string& path, size_t operand, const Operand& y, const Operand& expected, size_t at) const {
    if (at == y.words.size()) return;
    std::fprintf(stderr, "SEED=%llu: operation %d on path %s: operand %zu, value %zu of rows of %lld: %08x (%g), expected %08x (%g)\n",
                 static_cast<unsigned long long>(seed_), call.op, path.c_str(), operand, at, static_cast<long long>(y.width), y.words[at],
                 static_cast<double>(fromBits(y.words[at])), expected.words[at], static_cast<double>(fromBits(expected.words[at])));
    std::exit(1);
  }

  const ls_backend_api* api_;
  uint64_t seed_;
  Runner reference_;
  std::vector<Named> runners_;
};

std::vector<std::string> availableOf(const ls_backend_api* api, const std::vector<std::string>& order) {
  const ls_path_info* paths = nullptr;
  size_t count = 0;
  CHECK(api->paths(&paths, &count) == LS_OK);
  std::vector<std::string> here;
  for (const std::string& name : order)
    if (std::any_of(paths, paths + count, [&](const ls_path_info& path) { return name == path.name && path.available != 0; })) here.push_back(name);
  return here;
}

}  // namespace

void testPaths(const ls_backend_api* api, uint64_t seed, int rounds, FILE* digests) {
  for (const std::vector<std::string>& names : kOrders) {
    const std::vector<std::string> here = availableOf(api, names);
    if (here.empty() || here.front() != names.front()) {
      std::fprintf(stderr, "path %s, which others are compared with, was not built: `npm run build:kernels` builds every path\n", names.front().c_str());
      std::exit(1);
    }
    Order order(api, here, seed);
    for (int op = 0; op < LS_OP_COUNT; op++) {
      const uint64_t digest = order.digest(static_cast<ls_op>(op), rounds);
      if (digests != nullptr) std::fprintf(digests, "%s, operation %d: %016llx\n", names.front().c_str(), op, static_cast<unsigned long long>(digest));
    }
    std::printf("paths:");
    for (const std::string& name : here) std::printf(" %s", name.c_str());
    std::printf(": the same bits in %d random calls, near the reference in half of them\n", 2 * LS_OP_COUNT * rounds);
  }
}

}  // namespace longshore::test
