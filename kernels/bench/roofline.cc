// What this machine can do, five times each: longshore_roofline THREADS BYTES FOLDER [KEY...]
// One line a limit: `key unit value value ...`, or `key - reason` where this machine lacks it. BYTES are read in rotation, more than any cache
// holds; FOLDER holds the file that is mapped, as weights are, and is left as it was.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "units.h"

namespace {

constexpr int kSamples = 5;

struct Options {
  unsigned threads;
  size_t bytes;
  std::string folder;
  std::vector<std::string> keys;
};

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Runs `work(thread)` on all threads at once; how long until the last was done.
double together(unsigned threads, const std::function<void(unsigned)>& work) {
  std::vector<std::thread> others;
  const double start = seconds();
  for (unsigned i = 1; i < threads; i++) others.emplace_back(work, i);
  work(0);
  for (std::thread& other : others) other.join();
  return seconds() - start;
}

void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

// The sum keeps the loads; nobody asks for it.
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t sum(const uint64_t* values, size_t count) {
  uint64_t total[8] = {};
  for (size_t i = 0; i + 8 <= count; i += 8) {
    for (size_t lane = 0; lane < 8; lane++) total[lane] += values[i + lane];
  }
  return total[0] + total[1] + total[2] + total[3] + total[4] + total[5] + total[6] + total[7];
}

volatile uint64_t sink;

double readOnce(const uint8_t* data, const Options& options) {
  const size_t part = options.bytes / options.threads / 64 * 64;
  const double spent = together(options.threads, [&](unsigned i) { sink = sum(reinterpret_cast<const uint64_t*>(data + i * part), part / 8); });
  return static_cast<double>(part * options.threads) / spent;
}

std::vector<double> sampled(const std::function<double()>& once) {
  once();  // pages and clocks
  std::vector<double> values;
  for (int i = 0; i < kSamples; i++) values.push_back(once());
  return values;
}

std::vector<double> readAnonymous(const Options& options) {
  void* data = mmap(nullptr, options.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) fail("memory");
  std::memset(data, 1, options.bytes);  // untouched pages would all be the zero page
  const auto values = sampled([&] { return readOnce(static_cast<uint8_t*>(data), options); });
  munmap(data, options.bytes);
  return values;
}

// A file of zeros without blocks: its pages lie in the page cache one by one, as those of weights do, and no disk takes part.
std::vector<double> readMapped(const Options& options) {
  std::string path = options.folder + "/longshore-roofline-XXXXXX";
  const int file = mkstemp(path.data());
  if (file < 0) fail(path.c_str());
  unlink(path.c_str());
  if (ftruncate(file, static_cast<off_t>(options.bytes)) != 0) fail("ftruncate");
  void* data = mmap(nullptr, options.bytes, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) fail("mmap");
  const auto values = sampled([&] { return readOnce(static_cast<uint8_t*>(data), options); });
  munmap(data, options.bytes);
  close(file);
  return values;
}

std::vector<double> peakOf(const longshore::bench::Unit& unit, unsigned threads) {
  return sampled([&] {
    std::vector<double> done(threads);
    const double spent = together(threads, [&](unsigned i) { done[i] = unit.run(); });
    double total = 0;
    for (const double operations : done) total += operations;
    return total / spent;
  });
}

bool wanted(const Options& options, const std::string& key) {
  return options.keys.empty() || std::find(options.keys.begin(), options.keys.end(), key) != options.keys.end();
}

void print(const std::string& key, const char* unit, const std::vector<double>& values) {
  std::printf("%s %s", key.c_str(), unit);
  for (const double value : values) std::printf(" %.6g", value);
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: longshore_roofline THREADS BYTES FOLDER [KEY...]\n");
    return 2;
  }
  const Options options = {static_cast<unsigned>(std::max(1, std::atoi(argv[1]))), std::strtoull(argv[2], nullptr, 10), argv[3], {argv + 4, argv + argc}};
  if (wanted(options, "read.anonymous")) print("read.anonymous", "B/s", readAnonymous(options));
  if (wanted(options, "read.mapped")) print("read.mapped", "B/s", readMapped(options));
  for (const longshore::bench::Unit& unit : longshore::bench::units()) {
    if (!wanted(options, unit.key)) continue;
    if (unit.missing != nullptr) std::printf("%s - %s\n", unit.key, unit.missing);
    else print(unit.key, "OP/s", peakOf(unit, options.threads));
  }
}
