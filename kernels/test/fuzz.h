// Random calls of every operation (calls.cc), their operands, and ways to damage them.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "check.h"
#include "runner.h"

namespace longshore::test {

int64_t bytesOf(const ls_tensor& tensor);

// What packed operands hold:
// any bytes, including NaN codes and absurd scales, or moderate values, as in real checkpoints and entries.
enum class Values { any, sound };

class Fuzz {
 public:
  Fuzz(const ls_backend_api* api, uint64_t seed, Values values) : api_(api), random_(seed), values_(values) {}
  ~Fuzz() { forget(); }

  // A valid call on random shapes. Its operands live until `forget`.
  Call call(ls_op op);
  // LINEAR with a shape: activations [T, g * K], weights [g * N, K].
  Call linear(ls_dtype activation, ls_dtype format, int64_t T, int64_t K, int64_t N, int64_t g);
  void damage(Call& call);
  void forget();

  // What a tensor of a call points at. `save` and `restore` cover all of them.
  uint8_t* host(const ls_tensor& tensor);
  std::vector<std::vector<uint8_t>> save();
  void restore(const std::vector<std::vector<uint8_t>>& saved);

 private:
  using FillRow = std::function<void(uint8_t*)>;

  int64_t any(int64_t max) { return random_.whole(1, max); }
  // The width of rows that are compared by their largest value: never so few that all of them cancel.
  int64_t wide(int64_t max) { return 3 + any(max); }
  ls_dtype activation() { return random_.whole(0, 1) == 0 ? LS_F32 : LS_BF16; }
  ls_tensor absent() { return {}; }
  // Inputs may lie at any byte; outputs, and what is changed in place, at a multiple of their element.
  static constexpr uint64_t kAligned = 0;
  uint64_t anyByte() { return static_cast<uint64_t>(random_.whole(0, 3)); }
  ls_tensor make(ls_dtype dtype, std::vector<int64_t> shape, uint64_t offset = kAligned);
  ls_tensor floats(ls_dtype dtype, std::vector<int64_t> shape, uint64_t offset);
  ls_tensor floats(ls_dtype dtype, std::vector<int64_t> shape) { return floats(dtype, std::move(shape), anyByte()); }
  ls_tensor corners(ls_dtype dtype, std::vector<int64_t> shape);
  ls_tensor ints(std::vector<int64_t> shape, int64_t min, int64_t max);
  ls_tensor tableOf(int64_t V, int64_t k, int64_t experts);
  ls_tensor onGrid(std::vector<int64_t> shape, int64_t steps, float step);
  ls_tensor rowsOf(std::vector<int64_t> shape, const FillRow& fill);
  ls_tensor list(const std::vector<ls_tensor>& members);
  ls_tensor paged(int64_t count, int64_t bytes, int64_t offset, int64_t perPage, const FillRow& fill);
  void weight(int64_t N, int64_t K, ls_dtype dtype, std::vector<ls_tensor>& out);
  uint8_t code(ls_dtype dtype);
  uint8_t* fill(ls_dtype dtype, int64_t count, uint8_t* to);
  FillRow kvRow(int64_t layout, int64_t nope, int64_t rope);
  FillRow keyRow(int64_t layout, int64_t dim);

  Call rowsCall(ls_op op);
  Call hyperCall(ls_op op);
  Call storedCall(ls_op op);
  Call pagedCall(ls_op op);
  Call weightCall(ls_op op);

  const ls_backend_api* api_;
  Random random_;
  Values values_;
  std::vector<ls_tensor> indices_;  // I32 operands of the current call
  std::vector<ls_buffer*> buffers_;
  std::vector<ls_list*> lists_;
};

}  // namespace longshore::test
