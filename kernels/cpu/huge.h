// Weights in huge pages. A processor that looks up a translation every 4 KB reads them slowly: in a virtual machine, at
// a third of the speed (kernels/measured.md).
#pragma once

#include <cstdint>

namespace longshore::cpu {

// The system maps a file's pages by 2 MB if its cache holds them that way. This depends on who brought them there:
// reading through a mapping that asks for huge pages does it (Linux 6.16 on ext4, 5.18 on xfs), a download does not. If
// the cache holds a file in small pages, this call drops the file from the cache, so that it is read from disk again,
// in huge pages, when it is used. A trial must show that this pays: of 16 MB, dropped first, most come back huge, at
// 500 MB/s or more. Waits until all of the file is on disk. Pages that another process has mapped stay as they are.
void wantHugePages(int file, uint64_t bytes);

}  // namespace longshore::cpu
