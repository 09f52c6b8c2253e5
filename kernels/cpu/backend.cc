// The C ABI of the cpu backend: handles, streams, and the one place where a Failure becomes a status with last_error.
//
// The cpu's stream checks a call when it is enqueued and runs it at wait, on the calling thread and the backend's pool:
// what runs between two operations (the caller's code and the checks) would find its cache full of weights. Operations
// of several streams of one backend take turns.
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "checks/operations.h"
#include "failure.h"
#include "memory.h"
#include "pages.h"
#include "paths.h"
#include "threads.h"

using namespace longshore::cpu;

struct ls_backend {
  const PathEntry& path;
  Threads threads;
  std::mutex running;
};

struct ls_stream {
  ls_backend* backend;
  std::vector<Work> queued;  // at most kQueuedMax
  ls_status status = LS_OK;  // the first failure since the last wait
  std::string message;
};

namespace {

constexpr uint32_t kThreadsMax = 1024;
constexpr size_t kQueuedMax = 256;  // calls; a full queue runs without a wait

thread_local std::string lastError;

ls_status fail(ls_status status, std::string message) {
  lastError = std::move(message);
  return status;
}

// No exception may cross the ABI.
template <class Body>
ls_status guarded(Body body) {
  try {
    body();
    return LS_OK;
  } catch (const Failure& failure) {
    return fail(failure.status, failure.message);
  } catch (const std::bad_alloc&) {
    return fail(LS_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return fail(LS_INTERNAL, std::string("unexpected in the cpu backend: ") + error.what());
  }
}

void require(bool condition, const char* message) {
  if (!condition) throw Failure{LS_INVALID, message};
}

// ---- paths and backends

ls_status listPaths(const ls_path_info** infos, size_t* count) {
  return guarded([&] {
    static const std::vector<ls_path_info> list = [] {
      std::vector<ls_path_info> all;
      for (const PathEntry& path : allPaths()) all.push_back({path.name.c_str(), path.path != nullptr ? 1 : 0, path.reason.c_str()});
      return all;
    }();
    *infos = list.data();
    *count = list.size();
  });
}

const PathEntry& findPath(const char* name) {
  const std::vector<PathEntry>& paths = allPaths();
  for (size_t i = paths.size(); i-- > 0;) {
    const PathEntry& path = paths[i];
    if (name == nullptr ? path.path != nullptr : path.name == name) {
      if (path.path == nullptr) throw Failure{LS_UNSUPPORTED, "path " + path.name + " is not available: " + path.reason};
      return path;
    }
  }
  std::string known;
  for (const PathEntry& path : paths) known += (known.empty() ? "" : ", ") + path.name;
  throw Failure{LS_INVALID, std::string("there is no path ") + name + "; known are " + known};
}

ls_status openBackend(const char* path, uint32_t threads, ls_backend** out) {
  return guarded([&] {
    if (threads < 1 || threads > kThreadsMax) throw Failure{LS_INVALID, "threads must be in [1, 1024]"};
    *out = new ls_backend{findPath(path), Threads(threads), {}};
  });
}

void closeBackend(ls_backend* backend) { delete backend; }

const char* lastErrorText() { return lastError.c_str(); }

// ---- buffers and lists

ls_status bufferCreate(uint64_t bytes, ls_buffer** out) {
  return guarded([&] { *out = createBuffer(bytes); });
}

ls_status pageCreate(uint64_t bytes, uint32_t zero, ls_buffer** out) {
  return guarded([&] { *out = createPage(bytes, zero != 0); });
}

ls_buffer* bufferWhole(ls_buffer* buffer) { return buffer->whole == nullptr ? buffer : buffer->whole; }

ls_status bufferMap(const char* path, ls_buffer** out) {
  return guarded([&] { *out = mapFile(path); });
}

void bufferRelease(ls_buffer* buffer) { release(buffer); }

uint8_t* bufferHost(ls_buffer* buffer, uint64_t* bytes) {
  *bytes = buffer->bytes;
  return buffer->data;
}

ls_status bufferRead(ls_buffer* buffer, uint64_t offset, void* to, uint64_t bytes) {
  return guarded([&] {
    require(holds(*buffer, offset, bytes), "read: the range ends outside the buffer");
    if (bytes > 0) std::memcpy(to, buffer->data + offset, bytes);
  });
}

ls_status bufferWrite(ls_buffer* buffer, uint64_t offset, const void* from, uint64_t bytes) {
  return guarded([&] {
    require(!buffer->readOnly, "write: a mapped file is read-only");
    require(holds(*buffer, offset, bytes), "write: the range ends outside the buffer");
    if (bytes > 0) std::memcpy(buffer->data + offset, from, bytes);
  });
}

ls_status listCreate(ls_list** out) {
  return guarded([&] { *out = new ls_list; });
}

ls_status listAppend(ls_list* list, const ls_tensor* tensor) {
  return guarded([&] { append(*list, *tensor); });
}

void listRelease(ls_list* list) { release(list); }

// ---- streams

ls_status streamCreate(ls_backend* backend, ls_stream** out) {
  return guarded([&] { *out = new ls_stream{backend, {}, LS_OK, {}}; });
}

void streamRelease(ls_stream* stream) { delete stream; }

Work checked(ls_op op, const ls_tensor* tensors, uint32_t tensorCount, const double* params, uint32_t paramCount, bool dry) {
  if (static_cast<uint32_t>(op) >= LS_OP_COUNT) throw Failure{LS_INVALID, "there is no operation " + std::to_string(static_cast<uint32_t>(op))};
  const OperationEntry& operation = kOperations[op];
  Call call(operation.name, tensors, tensorCount, params, paramCount, dry);
  return operation.check(call);
}

// Runs what is queued, up to the first failure.
void runQueued(ls_stream& stream) {
  ls_backend& backend = *stream.backend;
  for (const Work& work : stream.queued) {
    const std::lock_guard<std::mutex> turn(backend.running);
    work(*backend.path.path, backend.threads);
  }
  stream.queued.clear();
}

// Keeps the first failure; calls queued after it are not run.
template <class Body>
ls_status sticking(ls_stream& stream, Body body) {
  if (stream.status != LS_OK) return fail(stream.status, stream.message);
  stream.status = guarded(body);
  if (stream.status == LS_OK) return LS_OK;
  stream.message = lastError;
  stream.queued.clear();
  return stream.status;
}

ls_status enqueue(ls_stream* stream, ls_op op, const ls_tensor* tensors, uint32_t tensorCount, const double* params, uint32_t paramCount) {
  return sticking(*stream, [&] {
    Work work = checked(op, tensors, tensorCount, params, paramCount, false);
    if (work) stream->queued.push_back(std::move(work));
    if (stream->queued.size() == kQueuedMax) runQueued(*stream);
  });
}

ls_status wait(ls_stream* stream) {
  const ls_status status = sticking(*stream, [&] { runQueued(*stream); });
  stream->status = LS_OK;
  return status;
}

ls_status supports(ls_backend*, ls_op op, const ls_tensor* tensors, uint32_t tensorCount, const double* params, uint32_t paramCount) {
  return guarded([&] {
    try {
      checked(op, tensors, tensorCount, params, paramCount, true);
    } catch (const Failure& failure) {
      throw Failure{LS_UNSUPPORTED, failure.message};
    }
  });
}

ls_tolerance tolerance(ls_op op, uint32_t output) {
  switch (op) {
    case LS_EMBED:
    case LS_KV_PACK:
    case LS_KV_UNPACK:
    case LS_KEY_PACK:
    case LS_KEY_UNPACK:
    case LS_WINDOW_PUT:
    case LS_GATHER:
    case LS_CAST: return LS_BITS;
    case LS_SELECT: return output == 0 ? LS_BITS : LS_REL;
    default: return LS_REL;
  }
}

}  // namespace

const ls_backend_api* ls_backend_entry(uint32_t abi_version) {
  static constexpr ls_backend_api api = {
      LS_ABI_VERSION, "cpu",      listPaths,   openBackend, closeBackend, lastErrorText, bufferCreate, pageCreate,
      bufferWhole,    bufferMap,  bufferRelease, bufferHost, bufferRead,  bufferWrite,   listCreate,   listAppend,
      listRelease,    streamCreate, streamRelease, enqueue, wait,         supports,      tolerance,
  };
  return abi_version == LS_ABI_VERSION ? &api : nullptr;
}
