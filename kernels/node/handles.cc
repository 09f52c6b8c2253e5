#include "handles.h"

#include <dlfcn.h>

namespace longshore::node {

namespace {

const char* nameOf(Kind kind) {
  static constexpr const char* names[] = {"backend", "buffer", "list", "stream"};
  return names[static_cast<int>(kind)];
}

const ls_backend_api* openLibrary(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Refusal{LS_IO, dlerror()};
  using Entry = const ls_backend_api* (*)(uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(library, "ls_backend_entry"));
  const ls_backend_api* api = entry == nullptr ? nullptr : entry(LS_ABI_VERSION);
  if (api != nullptr && api->abi_version == LS_ABI_VERSION) return api;
  dlclose(library);
  const char* reason = entry == nullptr ? " is not a longshore backend" : " was built for another version of this interface: run `npm run build`";
  throw Refusal{LS_UNSUPPORTED, path + reason};
}

}  // namespace

Handle::~Handle() {
  needed.clear();
  switch (kind) {
    case Kind::backend: api->close(backend()); break;
    case Kind::buffer: api->buffer_release(buffer()); break;
    case Kind::list: api->list_release(list()); break;
    case Kind::stream: api->stream_release(stream()); break;
  }
}

// Never destroyed: environments may still release handles while the process ends.
Handles& Handles::instance() {
  static Handles* handles = new Handles;
  return *handles;
}

uint32_t Handles::load(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < libraries_.size(); i++)
    if (libraries_[i].path == path) return static_cast<uint32_t>(i);
  libraries_.push_back({path, openLibrary(path)});
  return static_cast<uint32_t>(libraries_.size() - 1);
}

const ls_backend_api* Handles::library(double number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t index = whole(number, 1e6, "library");
  if (index >= libraries_.size()) throw Refusal{LS_INVALID, "there is no library " + std::to_string(index)};
  return libraries_[index].api;
}

double Handles::add(HandlePtr handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.emplace(next_, Entry{std::move(handle), 1});
  return static_cast<double>(next_++);
}

Handles::Entry& Handles::find(double id) {
  const uint64_t number = whole(id, kWholeMax, "id");
  const auto found = entries_.find(number);
  if (found == entries_.end()) throw Refusal{LS_INVALID, "there is no handle " + std::to_string(number) + ": released, or never given out"};
  return found->second;
}

const HandlePtr& Handles::Lookup::get(double id, Kind kind) const {
  const HandlePtr& handle = instance().find(id).handle;
  if (handle->kind != kind) throw Refusal{LS_INVALID, std::string("a ") + nameOf(kind) + " is needed, but the handle is a " + nameOf(handle->kind)};
  return handle;
}

void Handles::retain(double id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  find(id).references++;
}

// Releases the object itself after the lock: closing a backend waits for its threads.
void Handles::release(double id) {
  HandlePtr last;
  const std::lock_guard<std::mutex> lock(mutex_);
  Entry& entry = find(id);
  if (--entry.references > 0) return;
  last = std::move(entry.handle);
  entries_.erase(static_cast<uint64_t>(id));
}

size_t Handles::count() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return entries_.size();
}

void check(const ls_backend_api* api, ls_status status) {
  if (status != LS_OK) throw Refusal{status, api->last_error()};
}

void refuseNumber(double value, const char* name) {
  throw Refusal{LS_INVALID, std::string(name) + " = " + std::to_string(value) + " is not a whole number in range"};
}

}  // namespace longshore::node
