// The operations of one vectorised path. Each is described in kernels.h; its arguments in ../arguments.h.
#pragma once

#include "../path.h"

namespace longshore::cpu::LONGSHORE_PATH {

void embed(const EmbedArgs&, Pool&);
void rmsNorm(const RmsNormArgs&, Pool&);
void linear(const LinearArgs&, Pool&);
void hcPre(const HcPreArgs&, Pool&);
void hcPost(const HcPostArgs&, Pool&);
void hcHead(const HcHeadArgs&, Pool&);
void ropeTable(const RopeTableArgs&, Pool&);
void rope(const RopeArgs&, Pool&);
void kvPack(const KvPackArgs&, Pool&);
void kvUnpack(const KvUnpackArgs&, Pool&);
void keyPack(const KeyPackArgs&, Pool&);
void keyUnpack(const KeyUnpackArgs&, Pool&);
void windowPut(const WindowPutArgs&, Pool&);
void compress(const CompressArgs&, Pool&);
void select(const SelectArgs&, Pool&);
void attention(const AttentionArgs&, Pool&);
void route(const RouteArgs&, Pool&);
void experts(const ExpertsArgs&, Pool&);
void add(const AddArgs&, Pool&);
void gather(const GatherArgs&, Pool&);
void cast(const CastArgs&, Pool&);

}  // namespace longshore::cpu::LONGSHORE_PATH
