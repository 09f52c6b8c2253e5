// CRC-32 as in zlib and IEEE 802.3: reflected, polynomial 0xEDB88320, register and result inverted. What stored values are guarded with
// (docs/formats.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore::checksum {

// One implementation. All give the same sum for the same bytes.
struct Crc32Way {
  const char* name;
  bool available;  // this processor and operating system can run it
  // Of all that `before` is the sum of (0: of nothing) and of `bytes` behind it.
  uint32_t (*sum)(const uint8_t* bytes, size_t length, uint32_t before);
};

struct Crc32Ways {
  const Crc32Way* data;
  size_t count;
};

// Every way of this build, the table first and the fastest last. Safe from any thread.
Crc32Ways crc32Ways();

// The last that is available.
const Crc32Way& bestCrc32();

}  // namespace longshore::checksum
