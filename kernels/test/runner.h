// Calls through the C ABI.
#pragma once

#include <vector>

#include "longshore/kernels.h"

namespace longshore::test {

struct Call {
  ls_op op;
  std::vector<ls_tensor> tensors;
  std::vector<double> params;
};

// One opened path.
class Runner {
 public:
  Runner(const ls_backend_api* api, const char* path, uint32_t threads);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  ls_status run(const Call& call) const;
  void mustRun(const Call& call) const;

 private:
  const ls_backend_api* api_;
  ls_backend* backend_ = nullptr;
  ls_stream* stream_ = nullptr;
};

}  // namespace longshore::test
