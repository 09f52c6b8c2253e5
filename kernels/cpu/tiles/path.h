// The operations that tiles do. Each is described in kernels.h; its arguments in ../arguments.h.
#pragma once

#include "../path.h"

namespace longshore::cpu::LONGSHORE_PATH {

// Weights of any dtype but F32.
void linear(const LinearArgs&, Pool&);
void experts(const ExpertsArgs&, Pool&);
// q BF16, rows in LS_KV_E4M3_BF16 or LS_KV_BF16.
void attention(const AttentionArgs&, Pool&);
// Only where paysToLevel.
void select(const SelectArgs&, Pool&);

}  // namespace longshore::cpu::LONGSHORE_PATH
