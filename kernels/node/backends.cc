// Libraries, the paths they know, and what all handles have in common.
#include "arguments.h"
#include "expose.h"

namespace longshore::node {

namespace {

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
  const auto threads = static_cast<uint32_t>(whole(info, 2, 1 << 20, "threads"));
  ls_backend* backend = nullptr;
  check(api, api->open(info[1].IsNull() ? nullptr : path.c_str(), threads, &backend));
  return added(info, Kind::backend, api, backend);
}

Napi::Value tolerance(const Napi::CallbackInfo& info) {
  const auto op = static_cast<ls_op>(whole(info, 1, LS_OP_COUNT - 1, "operation"));
  return Napi::Number::New(info.Env(), library(info)->tolerance(op, static_cast<uint32_t>(whole(info, 2, 16, "output"))));
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

}  // namespace

void exposeBackends(Napi::Object exports) {
  expose<load>(exports, "load");
  expose<name>(exports, "name");
  expose<paths>(exports, "paths");
  expose<open>(exports, "open");
  expose<tolerance>(exports, "tolerance");
  expose<retain>(exports, "retain");
  expose<release>(exports, "release");
  expose<handleCount>(exports, "handleCount");
}

}  // namespace longshore::node
