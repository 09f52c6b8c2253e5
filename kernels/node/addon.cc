// The Node addon: checks what JavaScript gives, finds the objects behind the numbers, calls the C ABI. It computes nothing
// but checksums.
//
// Every function throws an Error whose `code` is the name of an ls_status. A wrong id, a detached array or a number out of range is
// an exception, never undefined behaviour.
#include <napi.h>

#include "checksum/copy.h"
#include "checksum/crc32.h"
#include "command.h"
#include "handles.h"

namespace longshore::node {

namespace {

constexpr double kBytesMax = 9007199254740991.0;
constexpr uint64_t kViewMax = uint64_t{1} << 31;  // Node 20 ends the process above 2^32, instead of refusing

const char* nameOf(ls_status status) {
  static constexpr const char* names[] = {"LS_OK", "LS_INVALID", "LS_UNSUPPORTED", "LS_MEMORY", "LS_IO", "LS_INTERNAL"};
  return names[status <= LS_INTERNAL ? status : LS_INTERNAL];
}

// ---- arguments

double number(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsNumber()) throw Refusal{LS_INVALID, "argument " + std::to_string(i) + " must be a number"};
  return info[i].As<Napi::Number>().DoubleValue();
}

std::string text(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsString()) throw Refusal{LS_INVALID, "argument " + std::to_string(i) + " must be a string"};
  return info[i].As<Napi::String>().Utf8Value();
}

// `name`: of the type, for people. An array has at least `least` elements.
template <class Array>
Array typed(const Napi::CallbackInfo& info, size_t i, napi_typedarray_type type, const char* name, size_t least = 0) {
  if (info[i].IsTypedArray() && info[i].As<Napi::TypedArray>().TypedArrayType() == type && info[i].As<Napi::TypedArray>().ElementLength() >= least)
    return info[i].As<Array>();
  throw Refusal{LS_INVALID, "argument " + std::to_string(i) + " must be a " + name};
}

struct Numbers {
  const double* data;
  size_t count;
};

// The first `length` (argument i + 1) numbers of a Float64Array (argument i).
Numbers numbers(const Napi::CallbackInfo& info, size_t i) {
  const auto array = typed<Napi::Float64Array>(info, i, napi_float64_array, "Float64Array");
  const size_t length = whole(number(info, i + 1), 4096, "length");
  if (length > array.ElementLength()) throw Refusal{LS_INVALID, "length exceeds the array (or the array is detached)"};
  return {array.Data(), length};
}

HandlePtr handle(const Napi::CallbackInfo& info, size_t i, Kind kind) { return Handles::instance().get(number(info, i), kind); }

const ls_backend_api* library(const Napi::CallbackInfo& info) { return Handles::instance().library(number(info, 0)); }

Napi::Value added(const Napi::CallbackInfo& info, Kind kind, const ls_backend_api* api, void* object, HandlePtr parent = nullptr) {
  const auto handle = std::make_shared<Handle>(kind, api, object);
  handle->parent = std::move(parent);
  return Napi::Number::New(info.Env(), Handles::instance().add(handle));
}

// ---- functions

Napi::Value load(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), Handles::instance().load(text(info, 0))); }

Napi::Value name(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), library(info)->name); }

Napi::Value paths(const Napi::CallbackInfo& info) {
  const ls_backend_api* api = library(info);
  const ls_path_info* infos = nullptr;
  size_t count = 0;
  check(api, api->paths(&infos, &count));
  auto list = Napi::Array::New(info.Env(), count);
  for (size_t i = 0; i < count; i++) {
    auto path = Napi::Object::New(info.Env());
    path.Set("name", infos[i].name);
    path.Set("available", Napi::Boolean::New(info.Env(), infos[i].available != 0));
    path.Set("reason", infos[i].reason);
    list.Set(static_cast<uint32_t>(i), path);
  }
  return list;
}

Napi::Value open(const Napi::CallbackInfo& info) {
  const ls_backend_api* api = library(info);
  const std::string path = info[1].IsNull() ? "" : text(info, 1);
  const auto threads = static_cast<uint32_t>(whole(number(info, 2), 1 << 20, "threads"));
  ls_backend* backend = nullptr;
  check(api, api->open(info[1].IsNull() ? nullptr : path.c_str(), threads, &backend));
  return added(info, Kind::backend, api, backend);
}

Napi::Value bufferCreate(const Napi::CallbackInfo& info) {
  const ls_backend_api* api = library(info);
  ls_buffer* buffer = nullptr;
  check(api, api->buffer_create(whole(number(info, 1), kBytesMax, "bytes"), &buffer));
  return added(info, Kind::buffer, api, buffer);
}

Napi::Float64Array placeIn(const Napi::CallbackInfo& info, size_t i) {
  return typed<Napi::Float64Array>(info, i, napi_float64_array, "Float64Array of 3", 3);
}

// Where a buffer lies in what it is part of: host address of the whole, bytes of the whole, offset there.
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
  check(api, api->page_create(whole(number(info, 1), kBytesMax, "bytes"), info[2].ToBoolean() ? 1 : 0, &buffer));
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
  const uint64_t offset = whole(number(info, 1), kBytesMax, "offset"), length = whole(number(info, 2), kBytesMax, "length");
  uint64_t bytes = 0;
  uint8_t* data = buffer->api->buffer_host(buffer->buffer(), &bytes);
  if (offset > bytes || length > bytes - offset) throw Refusal{LS_INVALID, "the view ends outside the buffer of " + std::to_string(bytes) + " bytes"};
  if (length > kViewMax) throw Refusal{LS_INVALID, "a view holds at most 2 GiB: look at large buffers piece by piece"};
  if (length == 0) return Napi::ArrayBuffer::New(info.Env(), 0);
  if (data == nullptr) throw Refusal{LS_UNSUPPORTED, "this backend's memory has no host address: use read and write"};
  auto* owner = new HandlePtr(buffer);
  return Napi::ArrayBuffer::New(info.Env(), data + offset, length, [](Napi::Env, void*, HandlePtr* held) { delete held; }, owner);
}

Napi::Value bufferPlace(const Napi::CallbackInfo& info) {
  const HandlePtr buffer = handle(info, 0, Kind::buffer);
  tell(placeIn(info, 1), buffer->api, buffer->buffer());
  return info.Env().Undefined();
}

// An ArrayBuffer over all that a page is part of, for as long as anybody likes. The collector is told that none of it is its to find: it would
// otherwise run for every 64 MB that are looked at.
Napi::Value wholeView(const Napi::CallbackInfo& info) {
  const HandlePtr buffer = handle(info, 0, Kind::buffer);
  const ls_backend_api* api = buffer->api;
  ls_buffer* all = api->buffer_whole(buffer->buffer());
  if (all == buffer->buffer()) throw Refusal{LS_INVALID, "the buffer is part of nothing: use a view of its own"};
  uint64_t bytes = 0;
  uint8_t* data = api->buffer_host(all, &bytes);
  if (data == nullptr || bytes > kViewMax) throw Refusal{LS_UNSUPPORTED, "this memory cannot be looked at as a whole"};
  const Napi::ArrayBuffer view = Napi::ArrayBuffer::New(info.Env(), data, bytes, [](Napi::Env, void*) {});
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -static_cast<int64_t>(bytes));
  return view;
}

Napi::Value retain(const Napi::CallbackInfo& info) {
  Handles::instance().retain(number(info, 0));
  return info.Env().Undefined();
}

Napi::Value release(const Napi::CallbackInfo& info) {
  Handles::instance().release(number(info, 0));
  return info.Env().Undefined();
}

Napi::Value handleCount(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(Handles::instance().count())); }

Napi::Value listCreate(const Napi::CallbackInfo& info) {
  const ls_backend_api* api = library(info);
  ls_list* list = nullptr;
  check(api, api->list_create(&list));
  return added(info, Kind::list, api, list);
}

Napi::Value listAppend(const Napi::CallbackInfo& info) {
  const HandlePtr list = handle(info, 0, Kind::list);
  const Numbers tensorNumbers = numbers(info, 1);
  if (tensorNumbers.count != kTensorNumbers) throw Refusal{LS_INVALID, "a tensor has 9 numbers"};
  std::vector<HandlePtr> handles;
  const ls_tensor tensor = parseTensor(tensorNumbers.data, list->api, false, handles);
  if (tensor.list != nullptr) throw Refusal{LS_INVALID, "a list cannot hold a list"};
  check(list->api, list->api->list_append(list->list(), &tensor));
  return info.Env().Undefined();
}

Napi::Value listTruncate(const Napi::CallbackInfo& info) {
  const HandlePtr list = handle(info, 0, Kind::list);
  check(list->api, list->api->list_truncate(list->list(), whole(number(info, 1), kBytesMax, "count")));
  return info.Env().Undefined();
}

Napi::Value streamCreate(const Napi::CallbackInfo& info) {
  const HandlePtr backend = handle(info, 0, Kind::backend);
  ls_stream* stream = nullptr;
  check(backend->api, backend->api->stream_create(backend->backend(), &stream));
  return added(info, Kind::stream, backend->api, stream, backend);
}

std::unique_lock<std::mutex> claim(const HandlePtr& stream) {
  std::unique_lock<std::mutex> lock(stream->inUse, std::try_to_lock);
  if (!lock.owns_lock()) throw Refusal{LS_INVALID, "the stream is in use by another thread"};
  return lock;
}

Napi::Value enqueue(const Napi::CallbackInfo& info) {
  const HandlePtr stream = handle(info, 0, Kind::stream);
  const auto lock = claim(stream);
  const Numbers given = numbers(info, 1);
  Command command = parseCommand(given.data, given.count, stream->api, false);
  for (HandlePtr& operand : command.handles) stream->needed.insert(std::move(operand));
  const auto tensorCount = static_cast<uint32_t>(command.tensors.size());
  check(stream->api, stream->api->enqueue(stream->stream(), command.op, command.tensors.data(), tensorCount, command.params, command.paramCount));
  return info.Env().Undefined();
}

Napi::Value wait(const Napi::CallbackInfo& info) {
  const HandlePtr stream = handle(info, 0, Kind::stream);
  const auto lock = claim(stream);
  const ls_status status = stream->api->wait(stream->stream());
  stream->needed.clear();
  check(stream->api, status);
  return info.Env().Undefined();
}

// "" or the reason.
Napi::Value supports(const Napi::CallbackInfo& info) {
  const HandlePtr backend = handle(info, 0, Kind::backend);
  const Numbers given = numbers(info, 1);
  const Command command = parseCommand(given.data, given.count, backend->api, true);
  const auto tensorCount = static_cast<uint32_t>(command.tensors.size());
  const ls_status status =
      backend->api->supports(backend->backend(), command.op, command.tensors.data(), tensorCount, command.params, command.paramCount);
  if (status != LS_OK && status != LS_UNSUPPORTED) check(backend->api, status);
  return Napi::String::New(info.Env(), status == LS_OK ? "" : backend->api->last_error());
}

Napi::Value tolerance(const Napi::CallbackInfo& info) {
  const auto op = static_cast<ls_op>(whole(number(info, 1), LS_OP_COUNT - 1, "operation"));
  return Napi::Number::New(info.Env(), library(info)->tolerance(op, static_cast<uint32_t>(whole(number(info, 2), 16, "output"))));
}

Napi::Uint8Array bytes(const Napi::CallbackInfo& info, size_t i) { return typed<Napi::Uint8Array>(info, i, napi_uint8_array, "Uint8Array"); }

// `count` bytes of an array (argument i) from an offset (argument i + 1) on.
uint8_t* span(const Napi::CallbackInfo& info, size_t i, uint64_t count) {
  Napi::Uint8Array all = bytes(info, i);
  const uint64_t from = whole(number(info, i + 1), kBytesMax, "offset"), length = all.ByteLength();
  if (from > length || count > length - from) throw Refusal{LS_INVALID, "the span ends outside its array of " + std::to_string(length) + " bytes"};
  return all.Data() + from;
}

Napi::Value crc32(const Napi::CallbackInfo& info) {
  static const auto sum = checksum::bestCrc32().sum;
  Napi::Uint8Array all = bytes(info, 0);
  const auto before = static_cast<uint32_t>(whole(number(info, 1), UINT32_MAX, "before"));
  return Napi::Number::New(info.Env(), sum(all.Data(), all.ByteLength(), before));
}

// (to, at, from, begin, count, before) => the sum.
Napi::Value copySummed(const Napi::CallbackInfo& info) {
  const uint64_t count = whole(number(info, 4), kBytesMax, "count");
  uint8_t* to = span(info, 0, count);
  const uint8_t* from = span(info, 2, count);
  if (to < from + count && from < to + count) throw Refusal{LS_INVALID, "the two spans overlap"};
  const auto before = static_cast<uint32_t>(whole(number(info, 5), UINT32_MAX, "before"));
  return Napi::Number::New(info.Env(), checksum::copySummed(to, from, count, before));
}

// Turns what a function throws into a JavaScript exception.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  const auto error = [&](ls_status status, const std::string& message) {
    Napi::Error thrown = Napi::Error::New(info.Env(), message);
    thrown.Set("code", nameOf(status));
    return thrown;
  };
  try {
    return function(info);
  } catch (const Refusal& refusal) {
    throw error(refusal.status, refusal.message);
  } catch (const std::bad_alloc&) {
    throw error(LS_MEMORY, "out of memory");
  }
}

template <Napi::Value (*function)(const Napi::CallbackInfo&)>
void expose(Napi::Object& exports, const char* name) {
  exports.Set(name, Napi::Function::New(exports.Env(), guarded<function>, name));
}

Napi::Object init(Napi::Env, Napi::Object exports) {
  expose<load>(exports, "load");
  expose<name>(exports, "name");
  expose<paths>(exports, "paths");
  expose<open>(exports, "open");
  expose<bufferCreate>(exports, "bufferCreate");
  expose<pageCreate>(exports, "pageCreate");
  expose<bufferPlace>(exports, "bufferPlace");
  expose<wholeView>(exports, "wholeView");
  expose<bufferMap>(exports, "bufferMap");
  expose<bufferBytes>(exports, "bufferBytes");
  expose<bufferView>(exports, "bufferView");
  expose<retain>(exports, "retain");
  expose<release>(exports, "release");
  expose<handleCount>(exports, "handleCount");
  expose<listCreate>(exports, "listCreate");
  expose<listAppend>(exports, "listAppend");
  expose<listTruncate>(exports, "listTruncate");
  expose<streamCreate>(exports, "streamCreate");
  expose<enqueue>(exports, "enqueue");
  expose<wait>(exports, "wait");
  expose<supports>(exports, "supports");
  expose<tolerance>(exports, "tolerance");
  expose<crc32>(exports, "crc32");
  expose<copySummed>(exports, "copySummed");
  exports.Set("sumsFast", Napi::Boolean::New(exports.Env(), checksum::bestCrc32().sum != checksum::crc32Ways().data[0].sum));
  return exports;
}

}  // namespace

NODE_API_MODULE(longshore, init)

}  // namespace longshore::node
