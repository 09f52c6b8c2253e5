// Buffers of one size by the thousand, as segments are: parts of regions that are used again and again. Fresh memory
// costs a page fault for every 4 KiB, about a microsecond in a virtual machine, which is more than filling it costs; a
// region asks for huge pages. A region keeps its addresses for ever, so that a view of them never dangles; memory of
// unused regions goes back to the system, but for a bounded part.
#pragma once

#include <cstdint>

#include "memory.h"

namespace longshore::cpu {

// `bytes` bytes, 64-byte aligned: zeros if asked for, else unspecified contents. Sizes that do not suit regions get a
// buffer of their own. The page returns to its region with its last reference. Safe from any thread.
ls_buffer* createPage(uint64_t bytes, bool zero);

// For ~ls_buffer.
void giveBack(ls_region* region, uint32_t block);

}  // namespace longshore::cpu
