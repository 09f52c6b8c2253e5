// longshore_test BACKEND.so [SEED [ROUNDS [DIGESTS]]]: what only C++ can see - formats value by value, products of
// tiles, checksums, the pool's threads, pages, mapped files, every operation through the C ABI under sanitizers, with
// calls as they should be and calls damaged at random - and, for machines without Node, the paths against each other.
#include <dlfcn.h>

#include "check.h"

namespace {

const ls_backend_api* load(const char* file) {
  void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  CHECK(library != nullptr);
  const auto entry = reinterpret_cast<const ls_backend_api* (*)(uint32_t)>(dlsym(library, "ls_backend_entry"));
  CHECK(entry != nullptr && entry(LS_ABI_VERSION) != nullptr && entry(LS_ABI_VERSION + 1) == nullptr);
  return entry(LS_ABI_VERSION);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace longshore::test;
  if (argc < 2) {
    std::fprintf(stderr, "usage: longshore_test BACKEND.so [SEED [ROUNDS [DIGESTS]]]\n");
    return 2;
  }
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 20;
  testFormats();
  testCrc32(seed, rounds);
  testThreads();
  testTiles(seed, rounds);
  const ls_backend_api* api = load(argv[1]);
  testPages(api, seed, rounds);
  testWeights(api, seed);
  testOperations(api, seed, rounds);
  FILE* digests = argc > 4 ? std::fopen(argv[4], "w") : nullptr;
  CHECK(argc <= 4 || digests != nullptr);
  testPaths(api, seed, rounds, digests);
  if (digests != nullptr) CHECK(std::fclose(digests) == 0);
  return 0;
}
