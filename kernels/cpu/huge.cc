#include "huge.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14
#endif

namespace longshore::cpu {

namespace {

constexpr uint64_t kHuge = uint64_t{2} << 20;
constexpr uint64_t kSamples = 16;  // parts of a file that are looked at
constexpr uint64_t kSmallMost = kSamples / 4;
constexpr uint64_t kTrial = 8 * kHuge;
constexpr double kReadingLeast = 5e8;  // bytes a second: a slower disk would keep the first tokens waiting for too long

// Parts of a file, each in a mapping of its own: the system reports on mappings.
class Parts {
 public:
  Parts(int file, const std::vector<uint64_t>& offsets, uint64_t bytes) : bytes_(bytes), all_((offsets.size() * 2 + 1) * bytes) {
    region_ = mmap(nullptr, all_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region_ == MAP_FAILED) return;
    first_ = (reinterpret_cast<uintptr_t>(region_) + kHuge - 1) / kHuge * kHuge;
    for (const uint64_t offset : offsets) {
      if (mmap(part(count_), bytes, PROT_READ, MAP_SHARED | MAP_FIXED, file, static_cast<off_t>(offset)) == MAP_FAILED) return;
      madvise(part(count_), bytes, MADV_HUGEPAGE);
      count_++;
    }
  }
  ~Parts() {
    if (region_ != MAP_FAILED) munmap(region_, all_);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  size_t count() const { return count_; }

  // Whether the cache holds the part's first page; of a file that belongs to somebody else the system always says so.
  bool present(size_t i) const {
    unsigned char page = 0;
    return mincore(part(i), 1, &page) == 0 && (page & 1) != 0;
  }

  // Reads the part, from disk if need be. False if the system cannot or the disk fails:
  // then a plain access would end the process.
  bool read(size_t i) const { return madvise(part(i), bytes_, MADV_POPULATE_READ) == 0; }

  // Bytes of each part that huge pages map.
  std::vector<uint64_t> huge() const {
    std::vector<uint64_t> found(count_, 0);
    std::ifstream maps("/proc/self/smaps");
    unsigned long long from, to, kilobytes;
    size_t i = count_;  // the part that the lines are about; count_: none
    for (std::string line; std::getline(maps, line);) {
      if (std::sscanf(line.c_str(), "%llx-%llx ", &from, &to) == 2) {
        i = from >= first_ && (from - first_) % (2 * bytes_) == 0 ? (from - first_) / (2 * bytes_) : count_;
      } else if (i < count_ && std::sscanf(line.c_str(), "FilePmdMapped: %llu kB", &kilobytes) == 1) {
        found[i] = kilobytes * 1024;
      }
    }
    return found;
  }

 private:
  void* part(size_t i) const { return reinterpret_cast<void*>(first_ + 2 * bytes_ * i); }  // gaps keep the mappings apart

  uint64_t bytes_, all_;
  void* region_;
  uintptr_t first_ = 0;
  size_t count_ = 0;
};

// Offset of the first cached part that is not in huge pages; none if too few parts are small to matter.
std::optional<uint64_t> firstSmall(int file, uint64_t bytes) {
  std::vector<uint64_t> offsets, small;
  for (uint64_t i = 0; i < kSamples; i++) offsets.push_back(bytes / kHuge * i / kSamples * kHuge);
  const Parts parts(file, offsets, kHuge);
  std::vector<bool> looked;
  for (size_t i = 0; i < parts.count(); i++) looked.push_back(parts.present(i) && parts.read(i));
  const std::vector<uint64_t> huge = parts.huge();
  for (size_t i = 0; i < parts.count(); i++) {
    if (looked[i] && huge[i] < kHuge) small.push_back(offsets[i]);
  }
  return small.size() > kSmallMost ? std::optional(small[0]) : std::nullopt;
}

bool comesBackHuge(int file, uint64_t offset) {
  sync_file_range(file, static_cast<off_t>(offset), kTrial, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  posix_fadvise(file, static_cast<off_t>(offset), kTrial, POSIX_FADV_DONTNEED);
  const Parts part(file, {offset}, kTrial);
  const auto start = std::chrono::steady_clock::now();
  if (part.count() == 0 || !part.read(0)) return false;
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  return part.huge()[0] >= kTrial * 3 / 4 && kTrial >= kReadingLeast * spent.count();
}

}  // namespace

void wantHugePages(int file, uint64_t bytes) {
  static_assert(kSamples * kHuge >= kTrial);
  if (bytes < kSamples * kHuge) return;
  const std::optional<uint64_t> small = firstSmall(file, bytes);
  if (!small || !comesBackHuge(file, std::min(*small, bytes / kHuge * kHuge - kTrial))) return;
  fdatasync(file);  // what is not on disk yet cannot be dropped
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
}

}  // namespace longshore::cpu
