// Every operation on every path of a backend, through the C ABI: valid calls on odd shapes, then the same calls damaged
// at random. These must be refused or run, but never touch memory they were not given (the sanitizers see to that).
#include "check.h"
#include "fuzz.h"

namespace longshore::test {

namespace {

void runPath(const ls_backend_api* api, const char* path, uint32_t threads, uint64_t seed, int rounds) {
  const Runner runner(api, path, threads);
  Fuzz fuzz(api, seed, Values::any);
  int refused = 0;
  for (int op = 0; op < LS_OP_COUNT; op++)
    for (int round = 0; round < rounds; round++) {
      Call call = fuzz.call(static_cast<ls_op>(op));
      runner.mustRun(call);
      for (int times = 0; times < 4; times++) {
        fuzz.damage(call);
        if (call.tensors.empty()) break;
        const ls_status damaged = runner.run(call);
        CHECK(damaged == LS_OK || damaged == LS_INVALID);
        refused += damaged == LS_INVALID ? 1 : 0;
      }
      fuzz.forget();
    }
  std::printf("operations: path %s, %u threads: %d valid calls ran, %d damaged ones were refused\n", path, threads, LS_OP_COUNT * rounds, refused);
}

}  // namespace

void testOperations(const ls_backend_api* api, uint64_t seed, int rounds) {
  const ls_path_info* paths = nullptr;
  size_t count = 0;
  CHECK(api->paths(&paths, &count) == LS_OK);
  for (size_t i = 0; i < count; i++) {
    if (paths[i].available == 0) std::printf("operations: path %s not run: %s\n", paths[i].name, paths[i].reason);
    else
      for (const uint32_t threads : {1u, 3u}) runPath(api, paths[i].name, threads, seed, rounds);
  }
}

}  // namespace longshore::test
