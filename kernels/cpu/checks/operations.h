// The table of operations: how each reads its operands, what it checks, and which function of a path it then calls.
#pragma once

#include <functional>

#include "../path.h"
#include "call.h"

namespace longshore::cpu {

// What is left of a call whose operands are valid: to check contents that may be
// wrong, and to run it. Throws Failure. Empty if there is nothing to do. Borrows
// buffers and lists; of a list of pages it keeps those that the list had at the check.
using Work = std::function<void(const Path&, Pool&)>;

// Keeps `args` out of deduction: `kernel` determines Args, so that `args` may be a braced list.
template <class Args>
struct Given {
  using Type = Args;
};

// Work that runs `kernel`, of whatever path, on `args`.
template <class Args>
Work running(Kernel<Args> Path::*kernel, const typename Given<Args>::Type& args) {
  return [kernel, args](const Path& path, Pool& pool) { (path.*kernel)(args, pool); };
}

// Checks a call. Throws Failure. The work of a dry call has no addresses and must not be run.
using Check = Work (*)(Call& call);

struct OperationEntry {
  const char* name;
  Check check;
};

// In the order of ls_op.
extern const OperationEntry kOperations[LS_OP_COUNT];

Work checkEmbed(Call&);
Work checkRmsNorm(Call&);
Work checkLinear(Call&);
Work checkHcPre(Call&);
Work checkHcPost(Call&);
Work checkHcHead(Call&);
Work checkRopeTable(Call&);
Work checkRope(Call&);
Work checkKvPack(Call&);
Work checkKvUnpack(Call&);
Work checkKeyPack(Call&);
Work checkKeyUnpack(Call&);
Work checkWindowPut(Call&);
Work checkCompress(Call&);
Work checkSelect(Call&);
Work checkAttention(Call&);
Work checkRoute(Call&);
Work checkExperts(Call&);
Work checkAdd(Call&);
Work checkGather(Call&);
Work checkCast(Call&);

}  // namespace longshore::cpu
