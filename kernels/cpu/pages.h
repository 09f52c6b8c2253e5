// Buffers of one size by the thousand, as segments are: parts of regions that are used again and again. Fresh memory costs a page fault for every
// 4 KiB, about a microsecond in a virtual machine and so more than it costs to fill them; a region asks for huge pages. Its addresses are its own for ever,
// so that a view of them never dangles; memory of regions that nobody uses goes back to the system, but for a bounded part.
#pragma once

#include <cstdint>

#include "memory.h"

namespace longshore::cpu {

// `bytes` bytes, 64-byte aligned; zeros if asked for, else whatever was there. Sizes that are no good for regions get a buffer of their own. The page
// goes back to its region with its last reference. From any thread.
ls_buffer* createPage(uint64_t bytes, bool zero);

// For ~ls_buffer.
void giveBack(ls_region* region, uint32_t block);

}  // namespace longshore::cpu
