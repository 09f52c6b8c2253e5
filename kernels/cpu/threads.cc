#include "threads.h"

#include <algorithm>
#include <chrono>
#include <new>

namespace longshore::cpu {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr uint64_t kOpen = uint64_t{1} << 31;

uint32_t epochOf(uint64_t gate) { return static_cast<uint32_t>(gate >> 32); }
uint64_t insideOf(uint64_t gate) { return gate & (kOpen - 1); }

// Tells the processor that this thread only waits.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// True as soon as `condition` holds, false once 50 us have passed since `sign` last changed.
template <class Condition, class Sign>
bool spinUntil(Condition condition, Sign sign) {
  auto seen = sign();
  auto end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; i++) {
      if (condition()) return true;
      relax();
    }
    if (const auto now = sign(); now != seen) {
      seen = now;
      end = Clock::now() + kSpin;
    }
  } while (Clock::now() < end);
  return false;
}

template <class Condition>
bool spinUntil(Condition condition) {
  return spinUntil(condition, [] { return 0; });
}

}  // namespace

Threads::Threads(uint32_t threads) : arenas_(std::max(1u, threads)) {
  try {
    for (uint32_t worker = 1; worker < threads; worker++) workers_.emplace_back([this, worker] { workerLoop(worker); });
  } catch (...) {  // the system has no more threads: running ones must end before their vector does
    stopWorkers();
    throw;
  }
}

Threads::~Threads() { stopWorkers(); }

void Threads::stopWorkers() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void* Threads::Arena::atLeast(size_t bytes) {
  if (bytes <= bytes_) return memory_;
  std::free(memory_);
  bytes_ = 0;
  memory_ = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (memory_ == nullptr) throw std::bad_alloc();
  bytes_ = bytes;
  return memory_;
}

void Threads::run(int64_t count, int64_t grain, Thunk thunk, void* context) {
  if (count <= 0) return;
  calls_.fetch_add(1, std::memory_order_relaxed);
  if (workers_.empty() || count <= grain) return thunk(context, 0, count, 0);

  job_.thunk = thunk;
  job_.context = context;
  job_.count = count;
  job_.grain = grain;
  job_.next.store(0, std::memory_order_relaxed);
  job_.failure = nullptr;
  gate_.store((static_cast<uint64_t>(epochOf(gate_.load()) + 1) << 32) | kOpen);
  if (sleepers_.load() > 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    work_.notify_all();
  }

  takePieces(0);
  gate_.fetch_and(~kOpen);
  waitUntilEmpty();
  if (job_.failure) std::rethrow_exception(job_.failure);
}

// A share of what is left:
// long pieces first, so that a worker reads far in one place, and short ones last, so that all end together.
int64_t Threads::pieceOf(int64_t left) const {
  const int64_t share = left / (2 * int64_t{threads()}) / job_.grain * job_.grain;
  return std::min(left, std::max(job_.grain, share));
}

void Threads::takePieces(uint32_t worker) {
  try {
    for (int64_t begin = job_.next.load(std::memory_order_relaxed); begin < job_.count;) {
      const int64_t end = begin + pieceOf(job_.count - begin);
      if (!job_.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      job_.thunk(job_.context, begin, end, worker);
      begin = job_.next.load(std::memory_order_relaxed);
    }
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!job_.failure) job_.failure = std::current_exception();
  }
}

void Threads::workerLoop(uint32_t worker) {
  uint32_t seen = 0;
  while (!stop_) {
    if (enter(seen)) {
      takePieces(worker);
      leave();
    } else {
      waitForWork(seen);
    }
  }
}

// Joins the open job of an epoch not seen before.
bool Threads::enter(uint32_t& seen) {
  uint64_t gate = gate_.load();
  while ((gate & kOpen) != 0 && epochOf(gate) != seen) {
    if (!gate_.compare_exchange_weak(gate, gate + 1)) continue;
    seen = epochOf(gate);
    return true;
  }
  return false;
}

void Threads::leave() {
  const uint64_t before = gate_.fetch_sub(1);
  if (insideOf(before) != 1 || (before & kOpen) != 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  empty_.notify_one();
}

void Threads::waitForWork(uint32_t seen) {
  const auto ready = [&] {
    const uint64_t gate = gate_.load();
    return stop_ || ((gate & kOpen) != 0 && epochOf(gate) != seen);
  };
  if (spinUntil(ready, [&] { return calls_.load(std::memory_order_relaxed); })) return;
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);
  work_.wait(lock, ready);
  sleepers_.fetch_sub(1);
}

void Threads::waitUntilEmpty() {
  const auto empty = [&] { return insideOf(gate_.load()) == 0; };
  if (spinUntil(empty)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  empty_.wait(lock, empty);
}

}  // namespace longshore::cpu
