// Operations as JavaScript sends them: numbers in a Float64Array, so that marshalling reads no object properties.
//
//   [op, tensors, params, (id, is list, offset, dtype, rank, s0, s1, s2, s3) per tensor, params...]      id 0 = absent
#pragma once

#include <array>
#include <cstddef>

#include "handles.h"

namespace longshore::node {

constexpr size_t kTensorNumbers = 9;
constexpr size_t kTensorsMax = 16;
constexpr size_t kParamsMax = 16;

struct Command {
  ls_op op;
  std::array<ls_tensor, kTensorsMax> tensors;  // the first tensorCount
  uint32_t tensorCount, paramCount;
  const double* params;
  size_t length;  // in numbers
};

// The first command of `count` numbers.
// Its buffers and lists must belong to the backend library `api`; from then on `owners` holds them, too.
Command parseCommand(const double* numbers, size_t count, const ls_backend_api* api, Owners& owners);

// For `supports`, which inspects no buffers: ids are ignored.
Command parseDry(const double* numbers, size_t count);

// Reads nine numbers.
ls_tensor parseTensor(const double* numbers, const ls_backend_api* api, Owners& owners);

}  // namespace longshore::node
