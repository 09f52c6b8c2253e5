// One operation while it is enqueued. Operands are taken in the order of the table in kernels.h; the first operand that
// has a dimension binds it, and all others must agree. Every violation throws LS_INVALID with operand and reason.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "../failure.h"
#include "../path.h"

namespace longshore::cpu {

// A dimension by name, unknown until an operand binds it.
struct Dim {
  const char* name;
  int64_t value = -1;
  operator int64_t() const { return value; }
};

// What a shape position must be: a Dim to bind or meet, or a number that follows from others.
struct Extent {
  Dim* dim;
  int64_t value;
  Extent(Dim& d) : dim(&d), value(-1) {}
  Extent(int64_t v) : dim(nullptr), value(v) {}
};

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Extent> extents) {
    for (const Extent& e : extents) add(e);
  }
  void add(const Extent& e) { extents_[size_++] = e; }  // at most four times
  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const Extent& operator[](uint32_t i) const { return extents_[i]; }
  const Extent* begin() const { return extents_; }
  const Extent* end() const { return extents_ + size_; }

 private:
  Extent extents_[4] = {0, 0, 0, 0};
  uint32_t size_ = 0;
};

using Dtypes = std::initializer_list<ls_dtype>;

// A checked operand. `data` is null if it is absent, or if the call only asks for support.
struct Operand {
  std::string name;
  uint8_t* data = nullptr;
  uint64_t bytes = 0;
  ls_dtype dtype = LS_F32;
  bool present = false;
  bool written = false;

  In in() const { return {data, dtype}; }
  Out out() const { return {data, dtype}; }
  template <class T>
  View<T> view() const { return {data}; }
  template <class T>
  T* as() const { return reinterpret_cast<T*>(data); }
};

// Whether they share a byte; an absent operand has none.
bool overlap(const Operand& a, const Operand& b);

// The dtype as a number: a caller in C can put any value there, and reading it as the enum would already be undefined.
uint32_t numberOf(const ls_dtype& dtype);

// Inspects tensors and contents for one operation, which every message names.
struct Inspector {
  const char* operation;

  [[noreturn]] void fail(const std::string& reason) const { throw Failure{LS_INVALID, std::string(operation) + ": " + reason}; }
  void require(bool condition, const char* reason) const {
    if (!condition) fail(reason);
  }
  // Checks dtype, shape and span.
  Operand tensor(const std::string& name, const ls_tensor& tensor, Dtypes dtypes, const Shape& shape, bool written = false) const;
  // Checks that `member`, an element of a list, shares no byte with `output`.
  void apart(const Operand& output, const Operand& member) const;
  // Checks that each of `count` values lies in [min, end).
  template <class T>
  void indices(const char* name, View<T> values, int64_t count, int64_t min, int64_t end) const;
};

class Call : public Inspector {
 public:
  // `dry`: checks dtypes and shapes only (ls_supports), not buffers and lists.
  Call(const char* operation, const ls_tensor* tensors, uint32_t tensorCount, const double* params, uint32_t paramCount, bool dry);

  Operand input(const char* name, Dtypes dtypes, const Shape& shape) { return take(name, dtypes, shape, false, false); }
  Operand optional(const char* name, Dtypes dtypes, const Shape& shape) { return take(name, dtypes, shape, false, true); }
  Operand output(const char* name, Dtypes dtypes, const Shape& shape) { return take(name, dtypes, shape, true, false); }
  Operand optionalOutput(const char* name, Dtypes dtypes, const Shape& shape) { return take(name, dtypes, shape, true, true); }
  // F32 or BF16, the same for every activation of the call.
  Operand activation(const char* name, Shape shape) { return sameKind(input(name, {LS_F32, LS_BF16}, shape)); }
  Operand activationOutput(const char* name, Shape shape) { return sameKind(output(name, {LS_F32, LS_BF16}, shape)); }
  // Null if the list is absent or the call is dry.
  ls_list* list(const char* name, bool mayBeAbsent);

  // Scalar parameters, in order.
  double number(const char* name);
  float notNegative(const char* name);  // and finite
  int64_t whole(const char* name, int64_t min, int64_t max);

  // Rank of the next operand.
  uint32_t nextRank() const { return nextTensor_ < tensorCount_ ? tensors_[nextTensor_].rank : 0; }

  // Ends the checks of operands: all were taken, and no output overlaps another operand except an exact twin named
  // here. Whoever reads a list checks its elements for overlap.
  void finish(std::initializer_list<std::pair<const char*, const char*>> mayCoincide = {}) const;

  bool dry() const { return dry_; }

 private:
  Operand take(const char* name, Dtypes dtypes, const Shape& shape, bool written, bool mayBeAbsent);
  Operand sameKind(Operand operand);
  bool absent(const ls_tensor& tensor) const;

  const ls_tensor* tensors_;
  uint32_t tensorCount_, nextTensor_ = 0;
  const double* params_;
  uint32_t paramCount_, nextParam_ = 0;
  bool dry_;
  ls_dtype kind_ = LS_U8;  // F32 or BF16 once an activation was seen
  std::vector<Operand> taken_;
};

template <class T>
void Inspector::indices(const char* name, View<T> values, int64_t count, int64_t min, int64_t end) const {
  for (int64_t i = 0; i < count; i++)
    if (values[i] < min || values[i] >= end)
      fail(std::string(name) + "[" + std::to_string(i) + "] = " + std::to_string(values[i]) + " is not in [" + std::to_string(min) + ", " +
           std::to_string(end) + ")");
}

}  // namespace longshore::cpu
