// Weights in huge pages. A processor that looks up a translation every 4 KB reads them slowly, in a virtual machine at a third of the speed (kernels/measured.md).
#pragma once

#include <cstdint>

namespace longshore::cpu {

// The system maps a file's pages by 2 MB where its cache holds them so, which depends on who brought them there: reading through a mapping that asks for it does
// (Linux 6.16 on ext4, 5.18 on xfs), a download does not. Where the cache holds a file in small pages, this makes the system forget the file, so that it is read from disk
// again, in huge pages, when it is used. That must be worth it: of 16 MB, forgotten first, most come back huge, at 500 MB/s or more. Waits for what of the file is not on
// disk yet. Pages that another process has mapped stay as they are.
void wantHugePages(int file, uint64_t bytes);

}  // namespace longshore::cpu
