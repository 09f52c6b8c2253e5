// How anything inside the backend fails. The ABI (backend.cc) turns it into a status and last_error.
#pragma once

#include <string>

#include "longshore/kernels.h"

namespace longshore::cpu {

struct Failure {
  ls_status status;
  std::string message;
};

}  // namespace longshore::cpu
