#include "call.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../memory.h"

namespace longshore::cpu {

namespace {

constexpr int64_t kDimMax = INT32_MAX;  // so that the product of two never overflows

const char* nameOf(ls_dtype dtype) {
  static constexpr const char* names[] = {"F32", "BF16", "F8_E4M3", "F8_E8M0", "F4_E2M1", "I32", "I64", "U8"};
  return names[dtype];
}

int64_t elementBytes(ls_dtype dtype) {
  static constexpr int64_t bytes[] = {4, 2, 1, 1, 1, 4, 8, 1};
  return bytes[dtype];
}

std::string describe(const ls_tensor& tensor) {
  std::string text = "[";
  for (uint32_t i = 0; i < tensor.rank; i++) text += (i > 0 ? ", " : "") + std::to_string(tensor.shape[i]);
  return text + "]";
}

std::string describe(const Shape& shape) {
  std::string text;
  for (const Extent& e : shape) {
    text += text.empty() ? "[" : ", ";
    if (e.dim != nullptr) text += e.dim->name;
    const int64_t value = e.dim != nullptr ? e.dim->value : e.value;
    if (value >= 0) text += (e.dim != nullptr ? " = " : "") + std::to_string(value);
  }
  return text + "]";
}

// Bytes of a tensor whose dimensions are each at most kDimMax; throws if the product overflows.
uint64_t bytesOf(const ls_tensor& tensor, const std::string& name) {
  uint64_t count = static_cast<uint64_t>(elementBytes(tensor.dtype));
  for (uint32_t i = 0; i < tensor.rank; i++)
    if (__builtin_mul_overflow(count, static_cast<uint64_t>(tensor.shape[i]), &count))
      throw Failure{LS_INVALID, name + " is too large: " + describe(tensor)};
  return tensor.dtype == LS_F4_E2M1 ? count / 2 : count;
}

void checkShape(const Inspector& look, const std::string& name, const ls_tensor& tensor, const Shape& shape) {
  if (tensor.rank > 4) look.fail(name + " has rank " + std::to_string(tensor.rank) + "; at most 4");
  bool fits = tensor.rank == shape.size();
  for (uint32_t i = 0; fits && i < tensor.rank; i++) {
    const Extent& e = shape[i];
    const int64_t size = tensor.shape[i];
    if (size < (i == 0 ? 0 : 1) || size > kDimMax) look.fail(name + " is " + describe(tensor) + ": a dimension is out of range");
    if (e.dim != nullptr && e.dim->value < 0) e.dim->value = size;
    fits = size == (e.dim != nullptr ? e.dim->value : e.value);
  }
  if (!fits) look.fail(name + " is " + describe(tensor) + ", expected " + describe(shape));
  if (tensor.dtype == LS_F4_E2M1 && tensor.shape[tensor.rank - 1] % 32 != 0)
    look.fail(name + ": rows of F4_E2M1 are multiples of 32, not " + describe(tensor));
}

// An operand of these dtypes and this shape, wherever its bytes lie.
Operand describedBy(const Inspector& look, const std::string& name, const ls_tensor& tensor, Dtypes dtypes, const Shape& shape, bool written) {
  if (numberOf(tensor.dtype) > LS_U8) look.fail(name + " has an unknown dtype");
  bool allowed = false;
  for (const ls_dtype dtype : dtypes) allowed = allowed || dtype == tensor.dtype;
  if (!allowed) look.fail(name + " cannot be " + nameOf(tensor.dtype));
  checkShape(look, name, tensor, shape);

  Operand operand;
  operand.name = name;
  operand.dtype = tensor.dtype;
  operand.present = true;
  operand.written = written;
  return operand;
}

// Sets the operand's bytes, all of them inside its buffer.
void place(const Inspector& look, Operand& operand, const ls_tensor& tensor) {
  if (tensor.buffer == nullptr) look.fail(operand.name + " is a list; a tensor is needed");
  const ls_buffer& buffer = *tensor.buffer;
  operand.bytes = bytesOf(tensor, operand.name);
  if (!holds(buffer, tensor.offset, operand.bytes))
    look.fail(operand.name + " " + describe(tensor) + " " + nameOf(tensor.dtype) + " at offset " + std::to_string(tensor.offset) +
              " ends outside its buffer of " + std::to_string(buffer.bytes) + " bytes");
  operand.data = buffer.data + tensor.offset;
  if (!operand.written) return;
  if (buffer.readOnly) look.fail(operand.name + " lies in a mapped file, which is read-only");
  const auto address = reinterpret_cast<uintptr_t>(operand.data);
  if (address % static_cast<uintptr_t>(elementBytes(tensor.dtype)) != 0) look.fail(operand.name + " is not aligned to its elements");
}

}  // namespace

uint32_t numberOf(const ls_dtype& dtype) {
  static_assert(sizeof(ls_dtype) == sizeof(uint32_t));
  uint32_t number;
  std::memcpy(&number, &dtype, sizeof number);
  return number;
}

bool overlap(const Operand& a, const Operand& b) {
  return a.bytes > 0 && b.bytes > 0 && a.data < b.data + b.bytes && b.data < a.data + a.bytes;
}

void Inspector::apart(const Operand& output, const Operand& member) const {
  if (overlap(output, member)) fail(output.name + " overlaps " + member.name);
}

Operand Inspector::tensor(const std::string& name, const ls_tensor& tensor, Dtypes dtypes, const Shape& shape, bool written) const {
  Operand operand = describedBy(*this, name, tensor, dtypes, shape, written);
  place(*this, operand, tensor);
  return operand;
}

Call::Call(const char* operation, const ls_tensor* tensors, uint32_t tensorCount, const double* params, uint32_t paramCount, bool dry)
    : Inspector{operation}, tensors_(tensors), tensorCount_(tensorCount), params_(params), paramCount_(paramCount), dry_(dry) {
  taken_.reserve(std::min(tensorCount, 16u));
}

bool Call::absent(const ls_tensor& tensor) const { return dry_ ? tensor.rank == 0 : tensor.buffer == nullptr && tensor.list == nullptr; }

Operand Call::take(const char* name, Dtypes dtypes, const Shape& shape, bool written, bool mayBeAbsent) {
  if (nextTensor_ >= tensorCount_) fail(std::string("operand ") + name + " is missing: only " + std::to_string(tensorCount_) + " tensors given");
  const ls_tensor& given = tensors_[nextTensor_++];
  if (absent(given)) {
    if (!mayBeAbsent) fail(std::string("operand ") + name + " is absent");
    Operand none;
    none.name = name;
    return none;
  }
  taken_.push_back(dry_ ? describedBy(*this, name, given, dtypes, shape, written) : tensor(name, given, dtypes, shape, written));
  return taken_.back();
}

Operand Call::sameKind(Operand operand) {
  if (kind_ != LS_U8 && operand.dtype != kind_) fail(operand.name + " is " + nameOf(operand.dtype) + ", but the call's activations are " + nameOf(kind_));
  kind_ = operand.dtype;
  return operand;
}

ls_list* Call::list(const char* name, bool mayBeAbsent) {
  if (nextTensor_ >= tensorCount_) fail(std::string("operand ") + name + " is missing");
  const ls_tensor& tensor = tensors_[nextTensor_++];
  if (dry_) return nullptr;
  if (tensor.list == nullptr && (!mayBeAbsent || tensor.buffer != nullptr)) fail(std::string("operand ") + name + " must be a list");
  return tensor.list;
}

double Call::number(const char* name) {
  if (nextParam_ >= paramCount_) fail(std::string("parameter ") + name + " is missing");
  const double value = params_[nextParam_++];
  if (std::isnan(value)) fail(std::string("parameter ") + name + " is not a number");
  return value;
}

float Call::notNegative(const char* name) {
  const double value = number(name);
  if (!(value >= 0 && std::isfinite(value))) fail(std::string("parameter ") + name + " must be finite and not negative");
  return static_cast<float>(value);
}

int64_t Call::whole(const char* name, int64_t min, int64_t max) {
  const double value = number(name);
  if (value != std::floor(value) || value < static_cast<double>(min) || value > static_cast<double>(max))
    fail(std::string("parameter ") + name + " = " + std::to_string(value) + " is not a whole number in [" + std::to_string(min) + ", " +
         std::to_string(max) + "]");
  return static_cast<int64_t>(value);
}

void Call::finish(std::initializer_list<std::pair<const char*, const char*>> mayCoincide) const {
  if (nextTensor_ != tensorCount_) fail(std::to_string(tensorCount_) + " tensors given, " + std::to_string(nextTensor_) + " expected");
  if (nextParam_ != paramCount_) fail(std::to_string(paramCount_) + " parameters given, " + std::to_string(nextParam_) + " expected");
  if (dry_) return;
  for (const Operand& out : taken_)
    for (const Operand& other : taken_) {
      if (!out.written || &out == &other || !overlap(out, other)) continue;
      bool twin = false;
      for (const auto& [output, input] : mayCoincide)
        twin = twin || (out.name == output && other.name == input && out.data == other.data && out.bytes == other.bytes);
      if (!twin) fail(out.name + " overlaps " + other.name);
    }
}

}  // namespace longshore::cpu
