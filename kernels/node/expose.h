// How functions reach JavaScript, and the files that have some.
#pragma once

#include <napi.h>

#include <new>
#include <string>

#include "handles.h"

namespace longshore::node {

using Function = Napi::Value (*)(const Napi::CallbackInfo&);

// An Error whose `code` is the name of the status.
Napi::Error errorOf(Napi::Env env, ls_status status, const std::string& message);

// Turns what a function throws into a JavaScript exception.
template <Function function>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const Refusal& refusal) {
    throw errorOf(info.Env(), refusal.status, refusal.message);
  } catch (const std::bad_alloc&) {
    throw errorOf(info.Env(), LS_MEMORY, "out of memory");
  }
}

template <Function function>
void expose(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New(exports.Env(), guarded<function>, name));
}

void exposeBackends(Napi::Object exports);
void exposeBuffers(Napi::Object exports);
void exposeStreams(Napi::Object exports);
void exposeSums(Napi::Object exports);

}  // namespace longshore::node
