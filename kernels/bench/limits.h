// What all of a machine's cores can do together: multiply and add, with each unit they have. Reading is in reading.h.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "units.h"

namespace longshore::bench {

inline double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Runs `work(thread)` on all threads at once. Returns the seconds until the last is done.
inline double together(unsigned threads, const std::function<void(unsigned)>& work) {
  std::vector<std::thread> others;
  const double start = seconds();
  for (unsigned i = 1; i < threads; i++) others.emplace_back(work, i);
  work(0);
  for (std::thread& other : others) other.join();
  return seconds() - start;
}

// Operations per second of one unit on `threads` cores.
inline double unitRate(const Unit& unit, unsigned threads) {
  std::vector<double> done(threads);
  const double spent = together(threads, [&](unsigned i) { done[i] = unit.run(); });
  double total = 0;
  for (const double operations : done) total += operations;
  return total / spent;
}

// The unit that multiplies bf16: the first that this machine has. fp32 is always there.
inline Unit matrixUnit() {
  const std::vector<Unit> all = units();
  for (const char* key : {"peak.bf16.amx", "peak.bf16.avx512"}) {
    for (const Unit& unit : all) {
      if (std::strcmp(unit.key, key) == 0 && unit.missing == nullptr) return unit;
    }
  }
  return all.front();
}

constexpr int kSamples = 5;

// Five measurements after one that wakes pages and clocks.
inline std::vector<double> sampled(const std::function<double()>& once) {
  once();
  std::vector<double> values;
  for (int i = 0; i < kSamples; i++) values.push_back(once());
  return values;
}

inline double medianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace longshore::bench
