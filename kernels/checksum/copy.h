// A copy that is summed up on its way.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore::checksum {

// Copies `length` bytes to where nobody reads them soon: many go past the caches, which spares fetching the lines they replace. Returns the CRC-32
// of all that `before` is the sum of and of these behind it. The two spans must not overlap.
uint32_t copySummed(uint8_t* to, const uint8_t* from, size_t length, uint32_t before);

}  // namespace longshore::checksum
