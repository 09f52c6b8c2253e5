// How the operations of this folder lay out memory: rows of floats padded with zeros to whole vectors, and blocks
// carved from a worker's scratch.
#pragma once

#include "../path.h"
#include "vec.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Elements of a padded row: whole vectors of sixteen floats, or of sixteen pairs of bf16 (pairs.h).
template <class E = float>
LONGSHORE_INLINE int64_t padded(int64_t width) {
  return blocksOf(width, kVector<E>) * kVector<E>;
}

// Takes aligned pieces of one block, or, if the block is null, only counts their bytes:
// a layout is one function that runs twice.
class Carver {
 public:
  explicit Carver(void* block) : next_(static_cast<char*>(block)) {}

  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    bytes_ += bytes;
    if (next_ != nullptr) next_ += bytes;
    return piece;
  }
  size_t bytes() const { return bytes_; }

 private:
  char* next_;
  size_t bytes_ = 0;
};

// A Layout's constructor takes its pieces from a Carver and the arguments.
template <class Layout, class... Args>
LONGSHORE_INLINE Layout inScratch(Pool& pool, uint32_t worker, const Args&... args) {
  Carver count(nullptr);
  Layout(count, args...);
  Carver carver(pool.scratch(worker, count.bytes()));
  return Layout(carver, args...);
}

template <class Layout, class... Args>
LONGSHORE_INLINE Layout inShared(Pool& pool, const Args&... args) {
  Carver count(nullptr);
  Layout(count, args...);
  Carver carver(pool.shared(count.bytes()));
  return Layout(carver, args...);
}

// Element i of an operand of type E.
template <class E>
LONGSHORE_INLINE const E* at(const void* data, int64_t i) {
  return static_cast<const E*>(data) + i;
}
template <class E>
LONGSHORE_INLINE E* at(void* data, int64_t i) {
  return static_cast<E*>(data) + i;
}

// An address to prefetch; may lie outside the operand.
LONGSHORE_INLINE const void* addressAt(const void* start, int64_t bytes) {
  return reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(start) + static_cast<uintptr_t>(bytes));
}
LONGSHORE_INLINE int64_t bytesBetween(const void* from, const void* to) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from));
}

// One row of an activation tensor, padded: as floats, or as the bf16 that it is.
template <class From, class E>
LONGSHORE_INLINE void padRow(const From* x, int64_t width, E* row) {
  forLanes(width, [&](int64_t k, auto read, auto write) LONGSHORE_INLINED { write(row + k, read(x + k)); });
  std::memset(row + width, 0, static_cast<size_t>(padded<E>(width) - width) * sizeof(E));
}

// Does to a value that stays in registers what an operation boundary in type E does.
template <class E>
LONGSHORE_INLINE V rounded(V v) {
  E lanes[kLanes];
  store(lanes, v);
  return load(lanes);
}

// Rows per piece, so that a piece is worth waking a thread for; costs are in vector operations.
LONGSHORE_INLINE int64_t grainOf(int64_t costPerRow) { return maxOf(1, 16384 / maxOf(1, costPerRow)); }

}  // namespace longshore::cpu::LONGSHORE_PATH
