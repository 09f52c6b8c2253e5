// The pool: every piece once, whatever count, grain and number of threads; exceptions come back; scratch is per worker.
#include "../cpu/threads.h"

#include <chrono>
#include <stdexcept>

#include "check.h"

namespace longshore::test {

using longshore::cpu::Threads;

namespace {

void checkCoverage(Threads& pool, int64_t count, int64_t grain) {
  std::vector<int> touched(static_cast<size_t>(count), 0);
  pool.parallelFor(count, grain, [&](int64_t begin, int64_t end, uint32_t worker) {
    CHECK(worker < pool.threads());
    auto* mine = static_cast<int64_t*>(pool.scratch(worker, sizeof(int64_t)));
    *mine = begin;
    for (int64_t i = begin; i < end; i++) touched[static_cast<size_t>(i)]++;
    CHECK(*mine == begin);
  });
  for (const int times : touched) CHECK(times == 1);
}

void checkException(Threads& pool) {
  bool caught = false;
  try {
    pool.parallelFor(100, 1, [](int64_t begin, int64_t end, uint32_t) {
      if (begin <= 37 && 37 < end) throw std::runtime_error("37");
    });
  } catch (const std::runtime_error&) {
    caught = true;
  }
  CHECK(caught);
}

}  // namespace

void testThreads() {
  for (uint32_t threads = 1; threads <= 5; threads++) {
    Threads pool(threads);
    Random random(threads);
    for (int i = 0; i < 500; i++) checkCoverage(pool, random.whole(0, 300), random.whole(1, 40));
    checkException(pool);
    for (int i = 0; i < 20; i++) {  // long enough apart for the workers to fall asleep
      std::this_thread::sleep_for(std::chrono::microseconds(random.whole(0, 200)));
      checkCoverage(pool, 64, 1);
    }
  }
  std::puts("threads: every piece once, with 1 to 5 threads");
}

}  // namespace longshore::test
