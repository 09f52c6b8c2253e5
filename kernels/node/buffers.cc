// Memory that JavaScript and the kernels share: buffers, pages and mapped files, and views of them.
#include "arguments.h"
#include "expose.h"

namespace longshore::node {

namespace {

constexpr uint64_t kViewMax = uint64_t{1} << 31;  // Node 20 ends the process above 2^32, instead of refusing

Napi::Value bufferCreate(const Napi::CallbackInfo& info) {
  const ls_backend_api* api = library(info);
  ls_buffer* buffer = nullptr;
  check(api, api->buffer_create(whole(info, 1, kWholeMax, "bytes"), &buffer));
  return added(info, Kind::buffer, api, buffer);
}

Napi::Float64Array placeIn(const Napi::CallbackInfo& info, size_t i) {
  return typed<Napi::Float64Array>(info, i, napi_float64_array, "Float64Array of 3", 3);
}

// Writes where a buffer lies in what it is part of: host address and bytes of the whole, and the buffer's offset there.
void tell(Napi::Float64Array place, const ls_backend_api* api, ls_buffer* buffer) {
  uint64_t bytes = 0, ownBytes = 0;
  const uint8_t* base = api->buffer_host(api->buffer_whole(buffer), &bytes);
  const uint8_t* own = api->buffer_host(buffer, &ownBytes);
  place[0] = static_cast<double>(reinterpret_cast<uintptr_t>(base));
  place[1] = static_cast<double>(bytes);
  place[2] = static_cast<double>(own - base);
}

Napi::Value pageCreate(const Napi::CallbackInfo& info) {
  const ls_backend_api* api = library(info);
  const Napi::Float64Array place = placeIn(info, 3);
  ls_buffer* buffer = nullptr;
  check(api, api->page_create(whole(info, 1, kWholeMax, "bytes"), info[2].ToBoolean() ? 1 : 0, &buffer));
  const Napi::Value id = added(info, Kind::buffer, api, buffer);
  tell(place, api, buffer);
  return id;
}

Napi::Value bufferMap(const Napi::CallbackInfo& info) {
  const ls_backend_api* api = library(info);
  ls_buffer* buffer = nullptr;
  check(api, api->buffer_map(text(info, 1).c_str(), &buffer));
  return added(info, Kind::buffer, api, buffer);
}

Napi::Value bufferBytes(const Napi::CallbackInfo& info) {
  const HandlePtr buffer = handle(info, 0, Kind::buffer);
  uint64_t bytes = 0;
  buffer->api->buffer_host(buffer->buffer(), &bytes);
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

// An ArrayBuffer over [offset, offset + length) that keeps the buffer alive until it is collected.
Napi::Value bufferView(const Napi::CallbackInfo& info) {
  const HandlePtr buffer = handle(info, 0, Kind::buffer);
  const uint64_t offset = whole(info, 1, kWholeMax, "offset"), length = whole(info, 2, kWholeMax, "length");
  uint64_t bytes = 0;
  uint8_t* data = buffer->api->buffer_host(buffer->buffer(), &bytes);
  if (offset > bytes || length > bytes - offset) throw Refusal{LS_INVALID, "the view ends outside the buffer of " + std::to_string(bytes) + " bytes"};
  if (length > kViewMax) throw Refusal{LS_INVALID, "a view holds at most 2 GiB: look at large buffers piece by piece"};
  if (length == 0) return Napi::ArrayBuffer::New(info.Env(), 0);
  if (data == nullptr) throw Refusal{LS_UNSUPPORTED, "this backend's memory has no host address"};
  auto* owner = new HandlePtr(buffer);
  return Napi::ArrayBuffer::New(info.Env(), data + offset, length, [](Napi::Env, void*, HandlePtr* held) { delete held; }, owner);
}

Napi::Value bufferPlace(const Napi::CallbackInfo& info) {
  const HandlePtr buffer = handle(info, 0, Kind::buffer);
  tell(placeIn(info, 1), buffer->api, buffer->buffer());
  return info.Env().Undefined();
}

// An ArrayBuffer over all that a page is part of; valid as long as the process lives.
Napi::Value wholeView(const Napi::CallbackInfo& info) {
  const HandlePtr buffer = handle(info, 0, Kind::buffer);
  const ls_backend_api* api = buffer->api;
  ls_buffer* all = api->buffer_whole(buffer->buffer());
  if (all == buffer->buffer()) throw Refusal{LS_INVALID, "the buffer is part of nothing: use a view of its own"};
  uint64_t bytes = 0;
  uint8_t* data = api->buffer_host(all, &bytes);
  if (data == nullptr || bytes > kViewMax) throw Refusal{LS_UNSUPPORTED, "this memory cannot be looked at as a whole"};
  return Napi::ArrayBuffer::New(info.Env(), data, bytes, [](Napi::Env, void*) {});
}

}  // namespace

void exposeBuffers(Napi::Object exports) {
  expose<bufferCreate>(exports, "bufferCreate");
  expose<pageCreate>(exports, "pageCreate");
  expose<bufferMap>(exports, "bufferMap");
  expose<bufferBytes>(exports, "bufferBytes");
  expose<bufferView>(exports, "bufferView");
  expose<bufferPlace>(exports, "bufferPlace");
  expose<wholeView>(exports, "wholeView");
}

}  // namespace longshore::node
