#include "runner.h"

#include "check.h"

namespace longshore::test {

Runner::Runner(const ls_backend_api* api, const char* path, uint32_t threads) : api_(api) {
  CHECK(api->open(path, threads, &backend_) == LS_OK && api->stream_create(backend_, &stream_) == LS_OK);
}

Runner::~Runner() {
  api_->stream_release(stream_);
  api_->close(backend_);
}

ls_status Runner::run(const Call& call) const {
  const ls_status refused = api_->enqueue(stream_, call.op, call.tensors.data(), static_cast<uint32_t>(call.tensors.size()), call.params.data(),
                                          static_cast<uint32_t>(call.params.size()));
  const ls_status status = api_->wait(stream_);
  CHECK(refused == LS_OK || refused == status);
  return status;
}

void Runner::mustRun(const Call& call) const {
  const ls_status status = run(call);
  if (status != LS_OK) std::fprintf(stderr, "%s\n", api_->last_error());
  CHECK(status == LS_OK);
}

}  // namespace longshore::test
