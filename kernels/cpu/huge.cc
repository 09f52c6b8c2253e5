#include "huge.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14
#endif

namespace longshore::cpu {

namespace {

constexpr uint64_t kHuge = uint64_t{2} << 20;
constexpr uint64_t kSamples = 16;  // of a file: what the cache lacks of them is read
constexpr uint64_t kSmallMost = kSamples / 4;
constexpr uint64_t kApart = 2 * kHuge;  // of addresses: holes keep samples from becoming one mapping

// Parts of a file, each mapped by itself: that is how the system tells them apart.
class Samples {
 public:
  Samples(int file, const std::vector<uint64_t>& offsets) : bytes_(offsets.size() * kApart + kHuge) {
    region_ = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region_ == MAP_FAILED) return;
    first_ = (reinterpret_cast<uintptr_t>(region_) + kHuge - 1) / kHuge * kHuge;
    for (const uint64_t offset : offsets) {
      void* address = reinterpret_cast<void*>(first_ + kApart * read_);
      if (mmap(address, kHuge, PROT_READ, MAP_SHARED | MAP_FIXED, file, static_cast<off_t>(offset)) == MAP_FAILED) return;
      madvise(address, kHuge, MADV_HUGEPAGE);
      if (madvise(address, kHuge, MADV_POPULATE_READ) != 0) return;  // unlike a look, no signal where the disk fails
      read_++;
    }
  }
  ~Samples() {
    if (region_ != MAP_FAILED) munmap(region_, bytes_);
  }
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;

  // Which of them are mapped by huge pages; fewer than there are samples where that cannot be known.
  std::vector<bool> huge() const {
    std::vector<bool> found(read_, false);
    std::ifstream maps("/proc/self/smaps");
    unsigned long long from, to, kilobytes;
    uint64_t sample = read_;  // which one the lines are about; behind the last: none
    for (std::string line; std::getline(maps, line);) {
      if (std::sscanf(line.c_str(), "%llx-%llx ", &from, &to) == 2) sample = from < first_ || (from - first_) % kApart != 0 ? read_ : (from - first_) / kApart;
      else if (sample < read_ && std::sscanf(line.c_str(), "FilePmdMapped: %llu kB", &kilobytes) == 1) found[sample] = kilobytes * 1024 == kHuge;
    }
    return found;
  }

 private:
  uint64_t bytes_;
  void* region_;
  uintptr_t first_ = 0;
  size_t read_ = 0;
};

bool canBeHuge(int file, uint64_t offset) {
  sync_file_range(file, static_cast<off_t>(offset), kHuge, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  posix_fadvise(file, static_cast<off_t>(offset), kHuge, POSIX_FADV_DONTNEED);
  const std::vector<bool> huge = Samples(file, {offset}).huge();
  return huge.size() == 1 && huge[0];
}

}  // namespace

void forgetSmallPages(int file, uint64_t bytes) {
  if (bytes < kSamples * kHuge) return;
  std::vector<uint64_t> offsets, small;
  for (uint64_t i = 0; i < kSamples; i++) offsets.push_back(bytes / kHuge * i / kSamples * kHuge);
  const std::vector<bool> huge = Samples(file, offsets).huge();
  for (size_t i = 0; i < huge.size(); i++) {
    if (!huge[i]) small.push_back(offsets[i]);
  }
  if (small.size() <= kSmallMost || !canBeHuge(file, small[0])) return;
  fdatasync(file);  // what is not on disk yet cannot be forgotten
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
}

}  // namespace longshore::cpu
