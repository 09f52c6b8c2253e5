// Files of weights, just written and not on disk yet: whoever maps them, several at once, finds the bytes that were
// written, whatever became of the pages.
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

namespace longshore::test {

namespace {

constexpr uint64_t kBytes = (uint64_t{40} << 20) + 12345;
constexpr uint64_t kPiece = 4608;  // small pages

uint32_t byteAt(uint64_t seed, uint64_t i) { return static_cast<uint8_t>((i + seed) * 0x9E3779B97F4A7C15u >> 56); }

std::string written(uint64_t seed) {
  const char* folder = std::getenv("TMPDIR");
  std::string name = std::string(folder == nullptr ? "/tmp" : folder) + "/longshore-weights-XXXXXX";
  const int file = mkstemp(name.data());
  CHECK(file >= 0);
  uint8_t piece[kPiece];
  for (uint64_t at = 0; at < kBytes; at += kPiece) {
    const uint64_t count = kBytes - at < kPiece ? kBytes - at : kPiece;
    for (uint64_t i = 0; i < count; i++) piece[i] = static_cast<uint8_t>(byteAt(seed, at + i));
    CHECK(write(file, piece, count) == static_cast<ssize_t>(count));
  }
  CHECK(close(file) == 0);
  return name;
}

}  // namespace

void testWeights(const ls_backend_api* api, uint64_t seed) {
  const std::string name = written(seed);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; t++) {
    threads.emplace_back([&] {
      ls_buffer* map = nullptr;
      CHECK(api->buffer_map(name.c_str(), &map) == LS_OK);
      uint64_t bytes = 0;
      const uint8_t* data = api->buffer_host(map, &bytes);
      CHECK(bytes == kBytes);
      for (uint64_t i = 0; i < bytes; i++) CHECK(data[i] == byteAt(seed, i));
      api->buffer_release(map);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(unlink(name.c_str()) == 0);
  std::printf("weights: %llu bytes as they were written\n", static_cast<unsigned long long>(kBytes));
}

}  // namespace longshore::test
