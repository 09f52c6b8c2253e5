// The process-wide table behind the numbers that JavaScript holds. Every environment
// (main thread, workers) sees the same ids, so a buffer crosses threads as a number.
// Ids are never used twice: a stale one is an error, not another object.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "longshore/kernels.h"

namespace longshore::node {

// What a JavaScript caller did wrong, or a backend refused; becomes an Error with `code`.
struct Refusal {
  ls_status status;
  std::string message;
};

enum class Kind { backend, buffer, list, stream };

struct Handle;
using HandlePtr = std::shared_ptr<Handle>;
using Owners = std::unordered_set<HandlePtr>;

// Returns its object to the backend when the last user is gone:
// a table entry, a view, a stream that still needs the operand.
struct Handle {
  Kind kind;
  const ls_backend_api* api;
  void* object;
  HandlePtr parent;  // a stream's backend
  std::mutex inUse;  // streams: one thread at a time
  Owners needed;     // streams: operands of what was enqueued since the last wait

  Handle(Kind k, const ls_backend_api* a, void* o) : kind(k), api(a), object(o) {}
  ~Handle();
  ls_buffer* buffer() const { return static_cast<ls_buffer*>(object); }
  ls_list* list() const { return static_cast<ls_list*>(object); }
  ls_stream* stream() const { return static_cast<ls_stream*>(object); }
  ls_backend* backend() const { return static_cast<ls_backend*>(object); }
};

class Handles {
 public:
  static Handles& instance();

  // Locks the table while it lives; a thread may have one at a time. Copy what `get` returns before it ends.
  class Lookup {
   public:
    Lookup() : lock_(instance().mutex_) {}
    const HandlePtr& get(double id, Kind kind) const;

   private:
    std::lock_guard<std::mutex> lock_;
  };

  // Opens a backend's shared object; the same path twice gives the same number. Never unloaded.
  uint32_t load(const std::string& path);
  const ls_backend_api* library(double number);

  double add(HandlePtr handle);
  void retain(double id);
  void release(double id);
  size_t count();

 private:
  struct Entry {
    HandlePtr handle;
    int64_t references;
  };
  struct Library {
    std::string path;
    const ls_backend_api* api;
  };
  Entry& find(double id);

  std::mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::vector<Library> libraries_;
  uint64_t next_ = 1;
};

// Throws the backend's own message unless status is LS_OK.
void check(const ls_backend_api* api, ls_status status);

constexpr double kWholeMax = 9007199254740991.0;  // the largest whole number JavaScript holds exactly

[[noreturn]] void refuseNumber(double value, const char* name);

// A whole number in [0, max], or a refusal that names it.
inline uint64_t whole(double value, double max, const char* name) {
  if (!(value >= 0 && value <= max)) refuseNumber(value, name);
  const auto number = static_cast<uint64_t>(value);
  if (static_cast<double>(number) != value) refuseNumber(value, name);
  return number;
}

}  // namespace longshore::node
