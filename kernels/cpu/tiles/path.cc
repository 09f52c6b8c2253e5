// The table of a path that multiplies on tiles and is, in all else, the path LONGSHORE_SHARED.
#include "path.h"

#include "../processor.h"
#include "../vector/level.h"

namespace longshore::cpu {

const Path* LONGSHORE_TABLE(LONGSHORE_SHARED)();

namespace {

// Weights that bf16 does not hold exactly are left to the shared path.
void linear(const LinearArgs& a, Pool& pool) {
  if (a.w.dtype == LS_F32) LONGSHORE_TABLE(LONGSHORE_SHARED)()->linear(a, pool);
  else LONGSHORE_PATH::linear(a, pool);
}

void experts(const ExpertsArgs& a, Pool& pool) {
  if (a.T > 0 && a.experts[a.idx ? a.idx[0] : 0].w1.dtype == LS_F32) LONGSHORE_TABLE(LONGSHORE_SHARED)()->experts(a, pool);
  else LONGSHORE_PATH::experts(a, pool);
}

void attention(const AttentionArgs& a, Pool& pool) {
  if (a.exactInBf16()) LONGSHORE_PATH::attention(a, pool);
  else LONGSHORE_TABLE(LONGSHORE_SHARED)()->attention(a, pool);
}

void select(const SelectArgs& a, Pool& pool) {
  if (LONGSHORE_PATH::paysToLevel(a)) LONGSHORE_PATH::select(a, pool);
  else LONGSHORE_TABLE(LONGSHORE_SHARED)()->select(a, pool);
}

#if defined(LONGSHORE_PORTABLE)
constexpr bool kTwin = true;
#else
constexpr bool kTwin = false;
#endif

}  // namespace

const Path* LONGSHORE_TABLE(LONGSHORE_PATH)() {
  static const Path path = [] {
    Path p = *LONGSHORE_TABLE(LONGSHORE_SHARED)();
    p.linear = linear;
    p.experts = experts;
    p.attention = attention;
    if (kTwin || hasByteTiles()) p.select = select;
    return p;
  }();
  return &path;
}

}  // namespace longshore::cpu
