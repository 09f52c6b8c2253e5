// Weights in huge pages. A processor that looks up a translation every 4 KB reads them slowly, in a virtual machine three times so (kernels/README.md).
#pragma once

#include <cstdint>

namespace longshore::cpu {

// The system maps a file's pages by 2 MB where its cache holds them so, which depends on who brought them there: reading through a mapping that asks for it
// does (Linux 6.16 on ext4, 5.18 on xfs), a download does not. Where a file of weights is cached in small pages and could be in huge ones, which is tried on 2 MB
// of it, this makes the system forget them, so that the mapping reads them from disk again, once. Pages that another process has mapped stay as they are.
void forgetSmallPages(int file, uint64_t bytes);

}  // namespace longshore::cpu
