// The table of operations: how each reads its operands, what it checks, and which function of a path it then calls.
#pragma once

#include "../path.h"
#include "call.h"

namespace longshore::cpu {

// Checks a call; unless it is dry, also runs it on the path. Throws Failure.
using Operation = void (*)(Call& call, const Path& path, Pool& pool);

struct OperationEntry {
  const char* name;
  Operation run;
};

// In the order of ls_op.
extern const OperationEntry kOperations[LS_OP_COUNT];

void runEmbed(Call&, const Path&, Pool&);
void runRmsNorm(Call&, const Path&, Pool&);
void runLinear(Call&, const Path&, Pool&);
void runHcPre(Call&, const Path&, Pool&);
void runHcPost(Call&, const Path&, Pool&);
void runHcHead(Call&, const Path&, Pool&);
void runRopeTable(Call&, const Path&, Pool&);
void runRope(Call&, const Path&, Pool&);
void runKvPack(Call&, const Path&, Pool&);
void runKvUnpack(Call&, const Path&, Pool&);
void runKeyPack(Call&, const Path&, Pool&);
void runKeyUnpack(Call&, const Path&, Pool&);
void runWindowPut(Call&, const Path&, Pool&);
void runCompress(Call&, const Path&, Pool&);
void runSelect(Call&, const Path&, Pool&);
void runAttention(Call&, const Path&, Pool&);
void runRoute(Call&, const Path&, Pool&);
void runExperts(Call&, const Path&, Pool&);
void runAdd(Call&, const Path&, Pool&);
void runGather(Call&, const Path&, Pool&);
void runCast(Call&, const Path&, Pool&);

// Row addresses of a list of U8 pages, of which rows [0, visible) must be present. `storage` outlives the result.
Pages readPages(const Call& call, ls_list* list, int64_t visible, int64_t pageOffset, int64_t rowsPerPage, int64_t rowBytes,
                std::vector<const uint8_t*>& storage);

}  // namespace longshore::cpu
