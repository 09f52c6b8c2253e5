// The paths of this build, and which of them run on this machine.
#pragma once

#include <string>
#include <vector>

#include "path.h"

namespace longshore::cpu {

struct PathEntry {
  std::string name;
  std::string reason;  // why it cannot run; "" if it can
  const Path* path;    // null if it cannot run
};

// Best last. Built once, lives as long as the library.
const std::vector<PathEntry>& allPaths();

}  // namespace longshore::cpu
