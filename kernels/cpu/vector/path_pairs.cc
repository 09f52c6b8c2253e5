// The table of a path that multiplies pairs of bf16 in serving mode and is, in all else, the path LONGSHORE_SHARED.
#include "path.h"

namespace longshore::cpu {

const Path* LONGSHORE_TABLE(LONGSHORE_SHARED)();

namespace {

void attention(const AttentionArgs& a, Pool& pool) {
  if (a.exactInBf16()) LONGSHORE_PATH::attention(a, pool);
  else LONGSHORE_TABLE(LONGSHORE_SHARED)()->attention(a, pool);
}

}  // namespace

const Path* LONGSHORE_TABLE(LONGSHORE_PATH)() {
  static const Path path = [] {
    Path p = *LONGSHORE_TABLE(LONGSHORE_SHARED)();
    p.linear = LONGSHORE_PATH::linear;
    p.experts = LONGSHORE_PATH::experts;
    p.attention = attention;
    return p;
  }();
  return &path;
}

}  // namespace longshore::cpu
