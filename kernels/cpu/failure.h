// How anything inside the backend fails; turned into a status and last_error at the ABI (backend.cc), never seen outside.
#pragma once

#include <string>

#include "longshore/kernels.h"

namespace longshore::cpu {

struct Failure {
  ls_status status;
  std::string message;
};

}  // namespace longshore::cpu
