// The table of one vectorised path: `avx2Path` and its like.
#include "path.h"

namespace longshore::cpu {

const Path* LONGSHORE_TABLE(LONGSHORE_PATH)() {
  using namespace LONGSHORE_PATH;
  static constexpr Path path = {embed,     rmsNorm,   linear,   hcPre,  hcPost,    hcHead, ropeTable, rope, kvPack, kvUnpack, keyPack,
                                keyUnpack, windowPut, compress, select, attention, route,  experts,   add,  gather, cast};
  return &path;
}

}  // namespace longshore::cpu
