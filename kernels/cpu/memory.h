// What the ABI's opaque handles are on the cpu: buffers and lists. Both may be used from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "longshore/kernels.h"

struct ls_region;

// Heap memory (zero-filled, 64-byte aligned), a page of a region (pages.h), or a private mapping of a file: a stray
// write by the host never reaches the file, and operations refuse to write to it.
struct ls_buffer {
  std::atomic<int64_t> references{1};
  uint8_t* data = nullptr;
  uint64_t bytes = 0;
  bool readOnly = false;
  bool mapped = false;
  void* allocation = nullptr;   // to free or, if mapped, to unmap
  ls_region* region = nullptr;  // of a page; `block` is its index there
  uint32_t block = 0;
  ls_buffer* whole = nullptr;   // of a page: the region's memory, never freed

  ~ls_buffer();
};

struct ls_list {
  std::mutex mutex;
  std::vector<ls_tensor> tensors;  // each retains its buffer
};

namespace longshore::cpu {

ls_buffer* createBuffer(uint64_t bytes);
ls_buffer* mapFile(const char* path);
void retain(ls_buffer* buffer);
void release(ls_buffer* buffer);

// True if [offset, offset + bytes) lies inside.
bool holds(const ls_buffer& buffer, uint64_t offset, uint64_t bytes);

void append(ls_list& list, const ls_tensor& tensor);
void release(ls_list* list);

}  // namespace longshore::cpu
