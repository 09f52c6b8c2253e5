#include "pages.h"

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "failure.h"

// Blocks [0, touched) have been handed out before; those in `free` are not in use.
struct ls_region {
  ls_buffer* memory;
  uint64_t blockBytes;
  uint32_t blocks;
  uint32_t touched = 0;
  std::vector<uint32_t> free;

  bool full() const { return free.empty() && touched == blocks; }
  bool unused() const { return free.size() == touched; }
};

namespace longshore::cpu {

namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kHugePage = uint64_t{1} << 21;
constexpr uint64_t kPageBytesMin = 4096, kPageBytesMax = uint64_t{1} << 23;
constexpr uint64_t kBlocksMin = 16;                    // in a region, so that rounding it up to huge pages wastes little
// Regions without a page in use are kept while they have room for at most 512 pages, a prompt's worth, or, if pages are
// small, for at most 128 MiB. Getting memory from the system again costs several times what filling it costs.
constexpr uint64_t kUnusedPages = 512, kUnusedBytes = uint64_t{1} << 27;

uint64_t roundUp(uint64_t bytes, uint64_t to) { return (bytes + to - 1) / to * to; }

// Anonymous memory that begins on a huge page.
ls_buffer* mapRegion(uint64_t bytes) {
  auto buffer = std::make_unique<ls_buffer>();
  void* mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw Failure{LS_MEMORY, "out of memory: no region of " + std::to_string(bytes) + " bytes to be had"};
  auto* from = static_cast<uint8_t*>(mapped);
  auto* begin = reinterpret_cast<uint8_t*>(roundUp(reinterpret_cast<uintptr_t>(from), kHugePage));
  if (begin != from) munmap(from, static_cast<size_t>(begin - from));
  munmap(begin + bytes, static_cast<size_t>(from + kHugePage - begin));
  madvise(begin, bytes, MADV_HUGEPAGE);  // a hint: the system may map small pages
  buffer->allocation = buffer->data = begin;
  buffer->bytes = bytes;
  ASAN_POISON_MEMORY_REGION(begin, bytes);
  return buffer.release();
}

class Pages {
 public:
  ls_buffer* create(uint64_t bytes, bool zero) {
    auto page = std::make_unique<ls_buffer>();
    const std::lock_guard<std::mutex> lock(mutex_);
    ls_region* region = regionWithRoom(roundUp(bytes, kAlignment));
    if (region->unused() && region->touched > 0) used(std::find(unused_.begin(), unused_.end(), region));
    const bool fresh = region->free.empty();
    const uint32_t block = fresh ? region->touched++ : region->free.back();
    if (!fresh) region->free.pop_back();
    if (region->full()) roomy_[region->blockBytes].pop_back();
    page->data = region->memory->data + block * region->blockBytes;
    page->bytes = bytes;
    page->region = region;
    page->block = block;
    page->whole = region->memory;
    ASAN_UNPOISON_MEMORY_REGION(page->data, bytes);
    if (zero && !fresh) std::memset(page->data, 0, bytes);
    return page.release();
  }

  void giveBack(ls_region* region, uint32_t block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ASAN_POISON_MEMORY_REGION(region->memory->data + block * region->blockBytes, region->blockBytes);
    if (region->full()) roomy_[region->blockBytes].push_back(region);
    region->free.push_back(block);
    if (!region->unused()) return;
    unused_.push_back(region);
    unusedPages_ += region->blocks;
    unusedBytes_ += region->memory->bytes;
    for (auto oldest = unused_.begin(); oldest != unused_.end() && unusedPages_ > kUnusedPages && unusedBytes_ > kUnusedBytes;)
      if (!emptied(oldest)) ++oldest;
  }

 private:
  ls_region* regionWithRoom(uint64_t blockBytes) {
    std::vector<ls_region*>& roomy = roomy_[blockBytes];
    if (!roomy.empty()) return roomy.back();
    const uint64_t bytes = roundUp(kBlocksMin * blockBytes, kHugePage);
    auto region = std::make_unique<ls_region>();
    region->blockBytes = blockBytes;
    region->blocks = static_cast<uint32_t>(bytes / blockBytes);
    region->free.reserve(region->blocks);
    roomy.reserve(roomy.size() + 1);
    unused_.reserve(regions_ + 1);
    region->memory = mapRegion(bytes);
    roomy.push_back(region.get());
    regions_++;
    return region.release();
  }

  // Gives the region's memory back to the system: it reads as zeros, which cost
  // nothing until they are touched. Other regions are used first from now on. Moves
  // `place` to the next. False if the memory is locked and keeps its contents.
  bool emptied(std::vector<ls_region*>::iterator& place) {
    ls_region* region = *place;
    if (madvise(region->memory->data, region->memory->bytes, MADV_DONTNEED) != 0) return false;
    place = used(place);
    region->touched = 0;
    region->free.clear();
    std::vector<ls_region*>& roomy = roomy_[region->blockBytes];
    const auto inRoomy = std::find(roomy.begin(), roomy.end(), region);
    std::rotate(roomy.begin(), inRoomy, inRoomy + 1);
    return true;
  }

  std::vector<ls_region*>::iterator used(std::vector<ls_region*>::iterator place) {
    unusedPages_ -= (*place)->blocks;
    unusedBytes_ -= (*place)->memory->bytes;
    return unused_.erase(place);
  }

  std::mutex mutex_;
  std::unordered_map<uint64_t, std::vector<ls_region*>> roomy_;  // by the size of their blocks
  std::vector<ls_region*> unused_;  // with touched blocks, unused the longest first; has capacity for every region
  uint64_t regions_ = 0, unusedPages_ = 0, unusedBytes_ = 0;
};

// Never destroyed: pages may be released while the process ends.
Pages& pages() {
  static Pages* all = new Pages;
  return *all;
}

}  // namespace

ls_buffer* createPage(uint64_t bytes, bool zero) {
  return bytes < kPageBytesMin || bytes > kPageBytesMax ? createBuffer(bytes) : pages().create(bytes, zero);
}

void giveBack(ls_region* region, uint32_t block) { pages().giveBack(region, block); }

}  // namespace longshore::cpu
