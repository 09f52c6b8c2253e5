// What JavaScript gave to a function. Each reader refuses what is missing or of another type, and names it.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

#include "handles.h"

namespace longshore::node {

inline double number(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsNumber()) throw Refusal{LS_INVALID, "argument " + std::to_string(i) + " must be a number"};
  return info[i].As<Napi::Number>().DoubleValue();
}

inline uint64_t whole(const Napi::CallbackInfo& info, size_t i, double max, const char* name) { return whole(number(info, i), max, name); }

inline std::string text(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsString()) throw Refusal{LS_INVALID, "argument " + std::to_string(i) + " must be a string"};
  return info[i].As<Napi::String>().Utf8Value();
}

// `name`: the type's name, for people. The array has at least `least` elements.
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
inline Numbers numbers(const Napi::CallbackInfo& info, size_t i) {
  const auto array = typed<Napi::Float64Array>(info, i, napi_float64_array, "Float64Array");
  const size_t length = whole(info, i + 1, 4096, "length");
  if (length > array.ElementLength()) throw Refusal{LS_INVALID, "length exceeds the array (or the array is detached)"};
  return {array.Data(), length};
}

inline HandlePtr handle(const Napi::CallbackInfo& info, size_t i, Kind kind) { return Handles::Lookup().get(number(info, i), kind); }

// The library that argument 0 names.
inline const ls_backend_api* library(const Napi::CallbackInfo& info) { return Handles::instance().library(number(info, 0)); }

// Adds an object to the table and returns its id.
inline Napi::Value added(const Napi::CallbackInfo& info, Kind kind, const ls_backend_api* api, void* object, HandlePtr parent = nullptr) {
  const auto handle = std::make_shared<Handle>(kind, api, object);
  handle->parent = std::move(parent);
  return Napi::Number::New(info.Env(), Handles::instance().add(handle));
}

}  // namespace longshore::node
