// What this machine can do, each limit measured five times: longshore_roofline THREADS BYTES FOLDER [KEY...]
// One line a limit: `key unit value value ...`, or `key - reason` where this machine lacks it. BYTES are read in
// rotation, more than any cache holds; FOLDER holds the file that is mapped, as weights are, and is left as it was.
//
// longshore_roofline THREADS BYTES FILE read.turns: prints the size of FILE, then for each line on stdin reads the next
// BYTES of the mapped FILE and prints their rate, so that whoever multiplies by the same pages can take turns with it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "limits.h"
#include "reading.h"

namespace {

using longshore::bench::readRate, longshore::bench::sampled, longshore::bench::unitRate;

struct Options {
  unsigned threads;
  size_t bytes;
  std::string folder;
  std::vector<std::string> keys;
};

void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::vector<double> readAnonymous(const Options& options) {
  void* data = mmap(nullptr, options.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) fail("memory");
  std::memset(data, 1, options.bytes);  // untouched pages would all be the zero page
  const auto values = sampled([&] { return readRate(static_cast<uint8_t*>(data), options.bytes, options.threads); });
  munmap(data, options.bytes);
  return values;
}

// A sparse file of zeros: its pages lie in the page cache one by one, as those of weights do, and no disk takes part.
std::vector<double> readMapped(const Options& options) {
  std::string path = options.folder + "/longshore-roofline-XXXXXX";
  const int file = mkstemp(path.data());
  if (file < 0) fail(path.c_str());
  unlink(path.c_str());
  if (ftruncate(file, static_cast<off_t>(options.bytes)) != 0) fail("ftruncate");
  void* data = mmap(nullptr, options.bytes, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) fail("mmap");
  const auto values = sampled([&] { return readRate(static_cast<uint8_t*>(data), options.bytes, options.threads); });
  munmap(data, options.bytes);
  close(file);
  return values;
}

int readByTurns(const Options& options) {
  const int file = open(options.folder.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (file < 0 || fstat(file, &info) != 0) fail(options.folder.c_str());
  const auto size = static_cast<size_t>(info.st_size), bytes = std::min(options.bytes, size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) fail("mmap");
  const auto* pages = static_cast<const uint8_t*>(data);
  readRate(pages, size, options.threads);
  std::printf("%zu\n", size);
  std::fflush(stdout);
  size_t at = 0;
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') continue;
    if (at + bytes > size) at = 0;
    std::printf("%.6g\n", readRate(pages + at, bytes, options.threads));
    std::fflush(stdout);
    at += bytes;
  }
  return 0;
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
  if (options.keys == std::vector<std::string>{"read.turns"}) return readByTurns(options);
  if (wanted(options, "read.anonymous")) print("read.anonymous", "B/s", readAnonymous(options));
  if (wanted(options, "read.mapped")) print("read.mapped", "B/s", readMapped(options));
  for (const longshore::bench::Unit& unit : longshore::bench::units()) {
    if (!wanted(options, unit.key)) continue;
    if (unit.missing != nullptr) std::printf("%s - %s\n", unit.key, unit.missing);
    else print(unit.key, "OP/s", sampled([&] { return unitRate(unit, options.threads); }));
  }
}
