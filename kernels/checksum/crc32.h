// CRC-32 as in zlib and IEEE 802.3: reflected, polynomial 0xEDB88320, register and result inverted.
// It guards stored values (docs/formats.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore::checksum {

// One implementation. All give the same sum for the same bytes.
struct Crc32Way {
  const char* name;
  bool available;  // this processor and operating system can run it
  // The CRC-32 of the bytes that `before` covers (0: none), followed by `bytes`.
  uint32_t (*sum)(const uint8_t* bytes, size_t length, uint32_t before);
};

struct Crc32Ways {
  const Crc32Way* data;
  size_t count;
};

// Every implementation in this build, the table first and the fastest last. Safe from any thread.
Crc32Ways crc32Ways();

// The last available one.
const Crc32Way& bestCrc32();

}  // namespace longshore::checksum
