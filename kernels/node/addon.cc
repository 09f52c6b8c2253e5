// The Node addon: checks what JavaScript gives, finds the objects behind the numbers, and calls the C ABI.
// It computes nothing but checksums.
//
// Every function throws an Error whose `code` is the name of an ls_status. A wrong id, a detached array or a number out
// of range is an exception, never undefined behaviour.
#include "expose.h"

namespace longshore::node {

Napi::Error errorOf(Napi::Env env, ls_status status, const std::string& message) {
  static constexpr const char* names[] = {"LS_OK", "LS_INVALID", "LS_UNSUPPORTED", "LS_MEMORY", "LS_IO", "LS_INTERNAL"};
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", names[status <= LS_INTERNAL ? status : LS_INTERNAL]);
  return error;
}

namespace {

Napi::Object init(Napi::Env, Napi::Object exports) {
  exposeBackends(exports);
  exposeBuffers(exports);
  exposeStreams(exports);
  exposeSums(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(longshore, init)

}  // namespace longshore::node
