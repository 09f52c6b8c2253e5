// A copy that computes a checksum on the way.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore::checksum {

// Copies `length` bytes to where nobody reads them soon: a long copy bypasses the
// caches, which saves fetching the lines it replaces. Returns the CRC-32 of the
// bytes that `before` covers, followed by these. The two spans must not overlap.
uint32_t copySummed(uint8_t* to, const uint8_t* from, size_t length, uint32_t before);

}  // namespace longshore::checksum
