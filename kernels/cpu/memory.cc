#include "memory.h"

#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "failure.h"
#include "huge.h"
#include "pages.h"

ls_buffer::~ls_buffer() {
  if (region != nullptr) {
    longshore::cpu::giveBack(region, block);
  } else if (mapped) {
    ASAN_UNPOISON_MEMORY_REGION(allocation, bytes);  // the addresses may be used again
    munmap(allocation, bytes);
  } else {
    std::free(allocation);
  }
}

namespace longshore::cpu {

namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kBytesMax = uint64_t{1} << 46;  // below the address space of any machine we know

[[noreturn]] void failIo(const char* path, const char* step) {
  throw Failure{LS_IO, std::string("cannot ") + step + " " + path + ": " + std::strerror(errno)};
}

struct File {
  int descriptor;
  ~File() {
    if (descriptor >= 0) close(descriptor);
  }
};

}  // namespace

// calloc takes large blocks from the system already zeroed, so that untouched pages cost nothing.
ls_buffer* createBuffer(uint64_t bytes) {
  auto buffer = std::make_unique<ls_buffer>();
  if (bytes <= kBytesMax) buffer->allocation = std::calloc(bytes + kAlignment, 1);
  if (buffer->allocation == nullptr) throw Failure{LS_MEMORY, "out of memory: no buffer of " + std::to_string(bytes) + " bytes to be had"};
  const auto address = reinterpret_cast<uintptr_t>(buffer->allocation);
  buffer->data = static_cast<uint8_t*>(buffer->allocation) + (kAlignment - address % kAlignment) % kAlignment;
  buffer->bytes = bytes;
  // Under AddressSanitizer the bytes after the buffer are out of bounds, too; in other builds this is nothing.
  ASAN_POISON_MEMORY_REGION(buffer->data + bytes, kAlignment - (buffer->data - static_cast<uint8_t*>(buffer->allocation)));
  return buffer.release();
}

ls_buffer* mapFile(const char* path) {
  const File file{open(path, O_RDONLY | O_CLOEXEC)};
  if (file.descriptor < 0) failIo(path, "open");
  struct stat info {};
  if (fstat(file.descriptor, &info) != 0) failIo(path, "look at");
  if (!S_ISREG(info.st_mode)) throw Failure{LS_IO, std::string(path) + " is not a regular file"};
  auto buffer = std::make_unique<ls_buffer>();
  buffer->readOnly = true;
  buffer->bytes = static_cast<uint64_t>(info.st_size);
  if (buffer->bytes == 0) return buffer.release();
  wantHugePages(file.descriptor, buffer->bytes);
  // Writable but private: without this a stray write through a host view would end the process.
  void* address = mmap(nullptr, buffer->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.descriptor, 0);
  if (address == MAP_FAILED) failIo(path, "map (does vm.overcommit_memory=2 forbid it?)");
  madvise(address, buffer->bytes, MADV_HUGEPAGE);  // a hint: see huge.h
  buffer->mapped = true;
  buffer->allocation = address;
  buffer->data = static_cast<uint8_t*>(address);
  return buffer.release();
}

void retain(ls_buffer* buffer) { buffer->references.fetch_add(1, std::memory_order_relaxed); }

void release(ls_buffer* buffer) {
  if (buffer->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete buffer;
}

bool holds(const ls_buffer& buffer, uint64_t offset, uint64_t bytes) { return offset <= buffer.bytes && bytes <= buffer.bytes - offset; }

void append(ls_list& list, const ls_tensor& tensor) {
  const std::lock_guard<std::mutex> lock(list.mutex);
  list.tensors.push_back(tensor);
  if (tensor.buffer != nullptr) retain(tensor.buffer);
}

void release(ls_list* list) {
  for (const ls_tensor& tensor : list->tensors)
    if (tensor.buffer != nullptr) release(tensor.buffer);
  delete list;
}

}  // namespace longshore::cpu
