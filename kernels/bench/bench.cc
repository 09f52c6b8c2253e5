// Speed of the operations that matter, through the C ABI: longshore_bench BACKEND [PATH] [THREADS] [FILTER]
// One line a shape: time, GFLOP/s (a multiply-add counts two, whatever the format), share of the machine's matrix peak,
// GB/s of operands. Weights of a decode step are larger than any cache and mapped from a file; there the share is that
// of the rate of reading the same memory once.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "limits.h"
#include "session.h"
#include "shapes.h"

using namespace longshore::bench;

namespace {

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

void decode() {
  for (const int64_t T : {1, 16}) {
    decodeLinear(LS_BF16, T, 4096, 4096);
    decodeLinear(LS_F8_E4M3, T, 4096, 4096);
    decodeLinear(LS_F8_E4M3, T, 1024, 32768);
    decodeLinear(LS_F8_E4M3, T, 8192, 4096);
    decodeLinear(LS_F4_E2M1, T, 4096, 4096);
    decodeHyper(T, 4096);
  }
  decodeExperts(LS_F4_E2M1, 4096, 2048, 6);
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
  ls_backend* backend;
  must(api->open(argc > 2 ? argv[2] : nullptr, threads, &backend));
  must(api->stream_create(backend, &stream));
  const Unit unit = matrixUnit();
  peakGflops = medianOf(sampled([&] { return unitRate(unit, threads); })) / 1e9;
  std::printf("%s: %.0f GFLOP/s on %u threads\n", unit.key, peakGflops, threads);
  yardlog();
  flash();
  decode();
}
