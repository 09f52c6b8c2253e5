// Checksums of stored values.
#include "arguments.h"
#include "checksum/copy.h"
#include "checksum/crc32.h"
#include "expose.h"

namespace longshore::node {

namespace {

Napi::Uint8Array bytes(const Napi::CallbackInfo& info, size_t i) { return typed<Napi::Uint8Array>(info, i, napi_uint8_array, "Uint8Array"); }

// `count` bytes of an array (argument i) from an offset (argument i + 1) on.
uint8_t* span(const Napi::CallbackInfo& info, size_t i, uint64_t count) {
  Napi::Uint8Array all = bytes(info, i);
  const uint64_t from = whole(info, i + 1, kWholeMax, "offset"), length = all.ByteLength();
  if (from > length || count > length - from) throw Refusal{LS_INVALID, "the span ends outside its array of " + std::to_string(length) + " bytes"};
  return all.Data() + from;
}

Napi::Value crc32(const Napi::CallbackInfo& info) {
  static const auto sum = checksum::bestCrc32().sum;
  Napi::Uint8Array all = bytes(info, 0);
  const auto before = static_cast<uint32_t>(whole(info, 1, UINT32_MAX, "before"));
  return Napi::Number::New(info.Env(), sum(all.Data(), all.ByteLength(), before));
}

// (to, at, from, begin, count, before) => the sum.
Napi::Value copySummed(const Napi::CallbackInfo& info) {
  const uint64_t count = whole(info, 4, kWholeMax, "count");
  uint8_t* to = span(info, 0, count);
  const uint8_t* from = span(info, 2, count);
  if (to < from + count && from < to + count) throw Refusal{LS_INVALID, "the two spans overlap"};
  const auto before = static_cast<uint32_t>(whole(info, 5, UINT32_MAX, "before"));
  return Napi::Number::New(info.Env(), checksum::copySummed(to, from, count, before));
}

}  // namespace

void exposeSums(Napi::Object exports) {
  expose<crc32>(exports, "crc32");
  expose<copySummed>(exports, "copySummed");
  exports.Set("sumsFast", Napi::Boolean::New(exports.Env(), checksum::bestCrc32().sum != checksum::crc32Ways().data[0].sum));
}

}  // namespace longshore::node
