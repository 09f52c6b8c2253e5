#include "command.h"

namespace longshore::node {

namespace {

constexpr double kDimMax = 2147483647.0;

HandlePtr owner(double id, Kind kind, const ls_backend_api* api) {
  HandlePtr handle = Handles::instance().get(id, kind);
  if (handle->api != api) throw Refusal{LS_INVALID, "an operand belongs to another backend"};
  return handle;
}

}  // namespace

ls_tensor parseTensor(const double* n, const ls_backend_api* api, bool dry, std::vector<HandlePtr>& handles) {
  ls_tensor tensor{};
  tensor.offset = whole(n[2], kWholeMax, "offset");
  tensor.dtype = static_cast<ls_dtype>(whole(n[3], LS_U8, "dtype"));
  tensor.rank = static_cast<uint32_t>(whole(n[4], 4, "rank"));
  for (uint32_t i = 0; i < 4; i++) tensor.shape[i] = static_cast<int64_t>(whole(n[5 + i], kDimMax, "shape"));
  if (dry || n[0] == 0) return tensor;
  const bool isList = whole(n[1], 1, "is list") == 1;
  const HandlePtr& handle = handles.emplace_back(owner(n[0], isList ? Kind::list : Kind::buffer, api));
  if (isList) tensor.list = handle->list();
  else tensor.buffer = handle->buffer();
  return tensor;
}

Command parseCommand(const double* numbers, size_t count, const ls_backend_api* api, bool dry) {
  if (count < 3) throw Refusal{LS_INVALID, "a command has at least 3 numbers"};
  Command command{};
  command.op = static_cast<ls_op>(whole(numbers[0], LS_OP_COUNT - 1, "operation"));
  const size_t tensors = whole(numbers[1], kTensorsMax, "number of tensors"), params = whole(numbers[2], kParamsMax, "number of parameters");
  if (count != 3 + tensors * kTensorNumbers + params)
    throw Refusal{LS_INVALID, "a command of " + std::to_string(count) + " numbers does not hold what it announces"};
  command.tensors.reserve(tensors);
  command.handles.reserve(tensors);
  for (size_t i = 0; i < tensors; i++) command.tensors.push_back(parseTensor(numbers + 3 + i * kTensorNumbers, api, dry, command.handles));
  command.params = numbers + 3 + tensors * kTensorNumbers;
  command.paramCount = static_cast<uint32_t>(params);
  return command;
}

}  // namespace longshore::node
