#include "command.h"

namespace longshore::node {

namespace {

constexpr double kDimMax = 2147483647.0;

// Resolves the operands' ids in the table, which is locked meanwhile.
struct Named {
  const ls_backend_api* api;
  Owners& owners;
  Handles::Lookup handles{};
};

const Handle& owned(double id, Kind kind, const Named& named) {
  const HandlePtr& handle = named.handles.get(id, kind);
  if (handle->api != named.api) throw Refusal{LS_INVALID, "an operand belongs to another backend"};
  named.owners.insert(handle);
  return *handle;
}

// `named` null: ids are ignored.
ls_tensor tensorAt(const double* n, const Named* named) {
  ls_tensor tensor{};
  tensor.offset = whole(n[2], kWholeMax, "offset");
  tensor.dtype = static_cast<ls_dtype>(whole(n[3], LS_U8, "dtype"));
  tensor.rank = static_cast<uint32_t>(whole(n[4], 4, "rank"));
  for (uint32_t i = 0; i < 4; i++) tensor.shape[i] = static_cast<int64_t>(whole(n[5 + i], kDimMax, "shape"));
  if (named == nullptr || n[0] == 0) return tensor;
  if (whole(n[1], 1, "is list") == 1) tensor.list = owned(n[0], Kind::list, *named).list();
  else tensor.buffer = owned(n[0], Kind::buffer, *named).buffer();
  return tensor;
}

Command commandAt(const double* numbers, size_t count, const Named* named) {
  if (count < 3) throw Refusal{LS_INVALID, "a command has at least 3 numbers"};
  Command command;
  command.op = static_cast<ls_op>(whole(numbers[0], LS_OP_COUNT - 1, "operation"));
  command.tensorCount = static_cast<uint32_t>(whole(numbers[1], kTensorsMax, "number of tensors"));
  command.paramCount = static_cast<uint32_t>(whole(numbers[2], kParamsMax, "number of parameters"));
  command.length = 3 + command.tensorCount * kTensorNumbers + command.paramCount;
  if (count < command.length) throw Refusal{LS_INVALID, "a command of " + std::to_string(count) + " numbers does not hold what it announces"};
  const double* at = numbers + 3;
  for (uint32_t i = 0; i < command.tensorCount; i++, at += kTensorNumbers) command.tensors[i] = tensorAt(at, named);
  command.params = at;
  return command;
}

}  // namespace

Command parseCommand(const double* numbers, size_t count, const ls_backend_api* api, Owners& owners) {
  const Named named{api, owners};
  return commandAt(numbers, count, &named);
}

Command parseDry(const double* numbers, size_t count) { return commandAt(numbers, count, nullptr); }

ls_tensor parseTensor(const double* numbers, const ls_backend_api* api, Owners& owners) {
  const Named named{api, owners};
  return tensorAt(numbers, &named);
}

}  // namespace longshore::node
