// SELECT (spec 2.5): chooses the scorer.
#include "path.h"

#include "level.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

template <int fixed>
void selectFp4(const SelectArgs& a, Pool& pool) {
  if constexpr (kAnyBytes) {
    if (paysToLevel(a)) return runSelection<LevelScorer<ByteProducts, fixed>>(a, pool);
  }
  runSelection<Fp4Scorer<fixed>>(a, pool);
}

}  // namespace

void select(const SelectArgs& a, Pool& pool) {
  if (a.layout != LS_KEY_FP4) runSelection<PlainScorer>(a, pool);
  else if (a.dim == 4 * kKeyBlock) selectFp4<4>(a, pool);
  else selectFp4<0>(a, pool);
}

}  // namespace longshore::cpu::LONGSHORE_PATH
