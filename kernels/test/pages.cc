// Pages: no two live ones share a byte; they are zeros where asked for, whatever was there before; several threads pass
// them on to each other; and how many are kept. Also copies into buffers and out of them.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "check.h"

namespace longshore::test {

namespace {

constexpr uint64_t kSizes[] = {0, 1, 4095, 4096, 52000, 700000, uint64_t{9} << 20};
constexpr size_t kLiveMax = 40;

struct Page {
  ls_buffer* buffer;
  uint8_t mark;
};

struct Shared {
  std::mutex mutex;
  std::vector<Page> pages;
};

Page create(const ls_backend_api* api, Random& random) {
  Page page{nullptr, static_cast<uint8_t>(random.u32())};
  const uint64_t size = kSizes[random.whole(0, 6)];
  const bool zero = random.whole(0, 1) == 1;
  CHECK(api->page_create(size, zero ? 1 : 0, &page.buffer) == LS_OK);
  uint64_t bytes = 0, all = 0;
  uint8_t* data = api->buffer_host(page.buffer, &bytes);
  const uint8_t* whole = api->buffer_host(api->buffer_whole(page.buffer), &all);
  CHECK(bytes == size && reinterpret_cast<uintptr_t>(data) % 64 == 0 && data >= whole && data + bytes <= whole + all);
  for (uint64_t i = 0; zero && i < bytes; i++) CHECK(data[i] == 0);
  if (bytes > 0) std::memset(data, page.mark, bytes);
  return page;
}

void checkAndRelease(const ls_backend_api* api, const Page& page) {
  uint64_t bytes = 0;
  const uint8_t* data = api->buffer_host(page.buffer, &bytes);
  for (uint64_t i = 0; i < bytes; i++) CHECK(data[i] == page.mark);
  api->buffer_release(page.buffer);
}

void churn(const ls_backend_api* api, uint64_t seed, int turns, Shared& shared) {
  Random random(seed);
  for (int turn = 0; turn < turns; turn++) {
    const Page page = create(api, random);
    std::vector<Page> released;
    {
      const std::lock_guard<std::mutex> lock(shared.mutex);
      shared.pages.push_back(page);
      while (shared.pages.size() > static_cast<size_t>(random.whole(1, kLiveMax))) {
        std::swap(shared.pages[random.u32() % shared.pages.size()], shared.pages.back());
        released.push_back(shared.pages.back());
        shared.pages.pop_back();
      }
    }
    for (const Page& other : released) checkAndRelease(api, other);
  }
}

// Locked memory does not go back to the system: its pages keep their contents, and yet are zeros where asked for.
void checkLocked(const ls_backend_api* api) {
  constexpr uint64_t kSize = uint64_t{1} << 16;
  constexpr size_t kPages = 2049;  // one more than is kept unused
  const auto fill = [&](std::vector<uint8_t*>& data) {
    std::vector<ls_buffer*> pages(kPages);
    for (ls_buffer*& page : pages) {
      uint64_t bytes = 0;
      CHECK(api->page_create(kSize, 1, &page) == LS_OK);
      data.push_back(api->buffer_host(page, &bytes));
      CHECK(*data.back() == 0);
      *data.back() = 1;
    }
    return pages;
  };
  std::vector<uint8_t*> first, second;
  std::vector<ls_buffer*> pages = fill(first);
  const std::vector<uint8_t*> locked = {first.front(), first.back()};  // of two regions
  for (uint8_t* data : locked) CHECK(mlock(data, 1) == 0);
  for (ls_buffer* page : pages) api->buffer_release(page);
  pages = fill(second);
  for (uint8_t* data : locked) munlock(data, 1);
  for (ls_buffer* page : pages) api->buffer_release(page);
}

// Unused pages are there for the next ones, whatever sizes came and went
// before, and no more of them than promised, even where some are locked.
void checkKept(const ls_backend_api* api) {
  constexpr uint64_t kSize = 320 << 10, kSmall = 8 << 10;
  constexpr size_t kKept = 512, kPerRegion = 19, kPages = 32 * kPerRegion;
  constexpr uint8_t kMark = 7;
  const auto create = [&](uint64_t size) {
    ls_buffer* page = nullptr;
    CHECK(api->page_create(size, 0, &page) == LS_OK);
    return page;
  };
  const auto first = [&](ls_buffer* page) {
    uint64_t bytes = 0;
    return api->buffer_host(page, &bytes);
  };
  // How many of as many pages as were just used hold what was left there: the first ones, unless a region with a locked
  // page was cleared among them. Regions become unused from the last to the first, each long after it had room.
  const auto kept = [&](uint64_t size, size_t count, bool lock) {
    std::vector<ls_buffer*> pages(count);
    for (ls_buffer*& page : pages) *first(page = create(size)) = kMark;
    uint8_t* locked = first(pages.back());
    CHECK(!lock || mlock(locked, 1) == 0);
    for (size_t i = 0; i < count; i += kPerRegion) api->buffer_release(pages[i]);
    for (size_t i = count; i-- > 0;)
      if (i % kPerRegion != 0) api->buffer_release(pages[i]);
    for (ls_buffer*& page : pages) page = create(size);
    if (lock) munlock(locked, 1);
    const auto marked = [&](ls_buffer* page) { return *first(page) == kMark; };
    const auto total = std::count_if(pages.begin(), pages.end(), marked);
    CHECK(lock || std::all_of(pages.begin(), pages.begin() + total, marked));
    for (ls_buffer* page : pages) api->buffer_release(page);
    return static_cast<size_t>(total);
  };
  for (uint64_t i = 0; i < 20; i++) {
    ls_buffer* other = create((uint64_t{4} << 20) + 64 * i);
    *first(other) = kMark;
    api->buffer_release(other);
  }
  CHECK(kept(kSize, kKept - kPerRegion, false) == kKept - kPerRegion);
  const size_t most = kept(kSize, kPages, false), mostBesides = kept(kSize, kPages, true);
  CHECK(most <= kKept && most > kKept - kPerRegion);
  CHECK(mostBesides <= kKept && mostBesides > kKept - 2 * kPerRegion);
  CHECK(kept(kSmall, 4 * kKept, false) == 4 * kKept);
}

// Copies without host addresses see the same bytes: none outside the buffer, and none into a mapped file.
void checkCopies(const ls_backend_api* api) {
  ls_buffer *page = nullptr, *program = nullptr;
  CHECK(api->page_create(100, 1, &page) == LS_OK && api->buffer_map("/proc/self/exe", &program) == LS_OK);
  const uint8_t in[] = {1, 2, 3, 4}, elf[] = {0x7F, 'E', 'L', 'F'};
  uint8_t out[] = {0, 0, 0, 0};
  CHECK(api->buffer_write(page, 96, in, 4) == LS_OK && api->buffer_read(page, 96, out, 4) == LS_OK && std::memcmp(in, out, 4) == 0);
  CHECK(api->buffer_write(page, 97, elf, 4) == LS_INVALID && api->buffer_read(page, 97, out, 4) == LS_INVALID);
  CHECK(api->buffer_read(page, 96, out, 4) == LS_OK && std::memcmp(in, out, 4) == 0);
  CHECK(api->buffer_write(program, 0, in, 4) == LS_INVALID);
  CHECK(api->buffer_read(program, 0, out, 4) == LS_OK && std::memcmp(elf, out, 4) == 0);
  api->buffer_release(page);
  api->buffer_release(program);
}

}  // namespace

void testPages(const ls_backend_api* api, uint64_t seed, int rounds) {
  Shared shared;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; t++) threads.emplace_back([&, t] { churn(api, seed + t, 20 * rounds, shared); });
  for (std::thread& thread : threads) thread.join();
  for (const Page& page : shared.pages) checkAndRelease(api, page);
  checkLocked(api);
  checkKept(api);
  checkCopies(api);
  std::printf("pages: %zu lived to the end, all as they were filled\n", shared.pages.size());
}

}  // namespace longshore::test
