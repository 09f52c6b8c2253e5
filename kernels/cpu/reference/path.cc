#include "reference.h"

namespace longshore::cpu {

const Path* referencePath() {
  using namespace reference;
  static constexpr Path path = {embed,     rmsNorm, linear,     hcPre,     hcPost,   hcHead, ropeTable, rope,    kvPack, kvUnpack, keyPack,
                                keyUnpack, windowPut, compress, select, attention, route,  experts,   add, gather, cast};
  return &path;
}

}  // namespace longshore::cpu
