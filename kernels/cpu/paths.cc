#include "paths.h"

#include "processor.h"

namespace longshore::cpu {

namespace {

// `make` is null where the path's objects were not linked in.
PathEntry entry(const char* name, const Path* (*make)(), std::string reason) {
  if (make == nullptr && reason.empty()) reason = "it was not built: `npm run build:kernels` builds every path";
  return {name, reason, reason.empty() ? make() : nullptr};
}

}  // namespace

const std::vector<PathEntry>& allPaths() {
  static const std::vector<PathEntry> paths = {
      entry("reference", referencePath, ""),
      entry("portable", portablePath, ""),
      entry("portablebf16", portablebf16Path, ""),
      entry("portableamx", portableamxPath, ""),
      entry("neon", neonPath, whyNoNeon()),
      entry("avx2", avx2Path, whyNoAvx2()),
      entry("avx512", avx512Path, whyNoAvx512()),
      entry("avx512bf16", avx512bf16Path, whyNoAvx512Bf16()),
      entry("amx", amxPath, whyNoAmx()),
  };
  return paths;
}

}  // namespace longshore::cpu
