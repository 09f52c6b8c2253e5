// Every operation on every path of a backend, through the C ABI: valid calls on odd shapes, then the same calls damaged at random, which must be
// refused or run, but never touch memory they were not given (the sanitizers see to that).
#include <dlfcn.h>

#include "check.h"
#include "fuzz.h"

namespace longshore::test {

namespace {

ls_status enqueue(const ls_backend_api* api, ls_stream* stream, const Call& call) {
  return api->enqueue(stream, call.op, call.tensors.data(), static_cast<uint32_t>(call.tensors.size()), call.params.data(),
                      static_cast<uint32_t>(call.params.size()));
}

void runPath(const ls_backend_api* api, const char* path, uint32_t threads, uint64_t seed, int rounds) {
  ls_backend* backend = nullptr;
  ls_stream* stream = nullptr;
  CHECK(api->open(path, threads, &backend) == LS_OK && api->stream_create(backend, &stream) == LS_OK);
  Fuzz fuzz(api, seed);
  int refused = 0;
  for (int op = 0; op < LS_OP_COUNT; op++)
    for (int round = 0; round < rounds; round++) {
      Call call = fuzz.call(static_cast<ls_op>(op));
      const ls_status status = enqueue(api, stream, call);
      if (status != LS_OK) std::fprintf(stderr, "%s\n", api->last_error());
      CHECK(status == LS_OK && api->wait(stream) == LS_OK);
      for (int times = 0; times < 4; times++) {
        fuzz.damage(call);
        if (call.tensors.empty()) break;
        const ls_status damaged = enqueue(api, stream, call);
        CHECK(damaged == LS_OK || damaged == LS_INVALID);
        CHECK(api->wait(stream) == damaged);
        refused += damaged == LS_INVALID ? 1 : 0;
      }
      fuzz.forget();
    }
  std::printf("operations: path %s, %u threads: %d valid calls ran, %d damaged ones were refused\n", path, threads, LS_OP_COUNT * rounds, refused);
  api->stream_release(stream);
  api->close(backend);
}

}  // namespace

void testOperations(const char* file, uint64_t seed, int rounds) {
  void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  CHECK(library != nullptr);
  const auto entry = reinterpret_cast<const ls_backend_api* (*)(uint32_t)>(dlsym(library, "ls_backend_entry"));
  CHECK(entry != nullptr && entry(LS_ABI_VERSION) != nullptr && entry(LS_ABI_VERSION + 1) == nullptr);
  const ls_backend_api* api = entry(LS_ABI_VERSION);
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
