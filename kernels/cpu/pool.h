// The threads of one opened backend. Work is split over outputs, in pieces of `grain`; a sum is never split (I7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace longshore::cpu {

class Pool {
 public:
  virtual ~Pool() = default;

  // Includes the calling thread.
  virtual uint32_t threads() const = 0;

  // Calls body(begin, end, worker) until [0, count) is covered; 0 <= worker < threads().
  // Pieces are multiples of `grain` long (the last may be shorter), the first ones the
  // longest; they run in any order and on any thread. Returns when all are done, and rethrows
  // the first exception. A single piece runs on the calling thread alone. Not re-entrant.
  template <class Body>
  void parallelFor(int64_t count, int64_t grain, Body&& body) {
    using Callable = std::remove_reference_t<Body>;
    run(count, grain, [](void* c, int64_t begin, int64_t end, uint32_t worker) { (*static_cast<Callable*>(c))(begin, end, worker); }, &body);
  }

  // Memory of one worker, 64-byte aligned, contents unspecified, kept from call to call. Valid until the same worker
  // asks again: an operation asks once per piece for all it needs. Call only from a body, for its own worker; the
  // calling thread may also use worker 0's outside a body.
  virtual void* scratch(uint32_t worker, size_t bytes) = 0;

  // One block for the whole operation, on the same terms.
  // The calling thread asks before parallelFor; bodies may read and write it.
  virtual void* shared(size_t bytes) = 0;

 protected:
  using Thunk = void (*)(void* context, int64_t begin, int64_t end, uint32_t worker);
  virtual void run(int64_t count, int64_t grain, Thunk thunk, void* context) = 0;
};

}  // namespace longshore::cpu
