// Operations as JavaScript sends them: one Float64Array, so that marshalling reads no object properties.
//
//   [op, tensors, params, (id, is list, offset, dtype, rank, s0, s1, s2, s3) per tensor, params...]      id 0 = absent
#pragma once

#include <cstddef>
#include <vector>

#include "handles.h"

namespace longshore::node {

constexpr size_t kTensorNumbers = 9;
constexpr size_t kTensorsMax = 16;
constexpr size_t kParamsMax = 16;

struct Command {
  ls_op op;
  std::vector<ls_tensor> tensors;
  const double* params;
  uint32_t paramCount;
  std::vector<HandlePtr> handles;  // owners of what the tensors name
};

// `dry`: for `supports`, which looks at no buffers; ids are then ignored.
Command parseCommand(const double* numbers, size_t count, const ls_backend_api* api, bool dry);

// Nine numbers. Buffers and lists must belong to the same backend library as `api`.
ls_tensor parseTensor(const double* numbers, const ls_backend_api* api, bool dry, std::vector<HandlePtr>& handles);

}  // namespace longshore::node
