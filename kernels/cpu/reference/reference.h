// The reference path: plain, slow, in double, rounded once. Every other path is compared with it, so each function
// should be readable beside its section of the specification. Cost and memory are whatever clarity needs.
#pragma once

#include "../path.h"

namespace longshore::cpu::reference {

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

// One stored row as floats: [nope + rope] or [dim].
void unpackKvRow(ls_kv_layout layout, int64_t nope, int64_t rope, const uint8_t* entry, float* row);
void unpackKeyRow(ls_key_layout layout, int64_t dim, const uint8_t* key, float* row);

// sum_k x[xStart + k] * w[wStart + k], in double.
double dot(const In& x, int64_t xStart, const In& w, int64_t wStart, int64_t K);

}  // namespace longshore::cpu::reference
