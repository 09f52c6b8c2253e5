// The Pool of an opened backend:
// threads - 1 workers that spin while operations follow each other within 50 us, as in a step, and sleep otherwise.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "pool.h"

namespace longshore::cpu {

class Threads final : public Pool {
 public:
  explicit Threads(uint32_t threads);
  ~Threads() override;

  uint32_t threads() const override { return static_cast<uint32_t>(workers_.size()) + 1; }
  void* scratch(uint32_t worker, size_t bytes) override { return arenas_[worker].atLeast(bytes); }
  void* shared(size_t bytes) override { return shared_.atLeast(bytes); }

 protected:
  void run(int64_t count, int64_t grain, Thunk thunk, void* context) override;

 private:
  class Arena {
   public:
    ~Arena() { std::free(memory_); }
    void* atLeast(size_t bytes);

   private:
    void* memory_ = nullptr;
    size_t bytes_ = 0;
  };

  struct Job {
    Thunk thunk = nullptr;
    void* context = nullptr;
    int64_t count = 0, grain = 1;
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;  // the first one; guarded by mutex_
  };

  void stopWorkers();
  void workerLoop(uint32_t worker);
  bool enter(uint32_t& seen);
  void leave();
  int64_t pieceOf(int64_t left) const;
  void takePieces(uint32_t worker);
  void waitForWork(uint32_t seen);
  void waitUntilEmpty();

  // Those inside may read the job. epoch << 32 | open << 31 | number of workers inside: a worker enters only while it
  // is open; the caller closes it, then waits only for those inside, never for a worker that still sleeps.
  std::atomic<uint64_t> gate_{0};
  std::atomic<uint64_t> calls_{0};  // calls of run, single-threaded ones too: a sign that a step goes on
  Job job_;

  std::mutex mutex_;
  std::condition_variable work_, empty_;
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<Arena> arenas_;  // one per worker, the calling thread's first
  Arena shared_;
  std::vector<std::thread> workers_;
};

}  // namespace longshore::cpu
