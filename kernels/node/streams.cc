// Operations in order, and the lists they take.
#include "arguments.h"
#include "command.h"
#include "expose.h"

namespace longshore::node {

namespace {

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
  Owners owners;  // until the list has a reference of its own
  const ls_tensor tensor = parseTensor(tensorNumbers.data, list->api, owners);
  if (tensor.list != nullptr) throw Refusal{LS_INVALID, "a list cannot hold a list"};
  check(list->api, list->api->list_append(list->list(), &tensor));
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
  for (size_t at = 0; at < given.count;) {
    const Command c = parseCommand(given.data + at, given.count - at, stream->api, stream->needed);
    check(stream->api, stream->api->enqueue(stream->stream(), c.op, c.tensors.data(), c.tensorCount, c.params, c.paramCount));
    at += c.length;
  }
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

// Returns "" or the reason.
Napi::Value supports(const Napi::CallbackInfo& info) {
  const HandlePtr backend = handle(info, 0, Kind::backend);
  const Numbers given = numbers(info, 1);
  const Command c = parseDry(given.data, given.count);
  const ls_status status = backend->api->supports(backend->backend(), c.op, c.tensors.data(), c.tensorCount, c.params, c.paramCount);
  if (status != LS_OK && status != LS_UNSUPPORTED) check(backend->api, status);
  return Napi::String::New(info.Env(), status == LS_OK ? "" : backend->api->last_error());
}

}  // namespace

void exposeStreams(Napi::Object exports) {
  expose<listCreate>(exports, "listCreate");
  expose<listAppend>(exports, "listAppend");
  expose<streamCreate>(exports, "streamCreate");
  expose<enqueue>(exports, "enqueue");
  expose<wait>(exports, "wait");
  expose<supports>(exports, "supports");
}

}  // namespace longshore::node
