#include "operations.h"

namespace longshore::cpu {

const OperationEntry kOperations[LS_OP_COUNT] = {
    {"EMBED", runEmbed},           {"RMS_NORM", runRmsNorm},     {"LINEAR", runLinear},         {"HC_PRE", runHcPre},     {"HC_POST", runHcPost},
    {"HC_HEAD", runHcHead},        {"ROPE_TABLE", runRopeTable}, {"ROPE", runRope},             {"KV_PACK", runKvPack},   {"KV_UNPACK", runKvUnpack},
    {"KEY_PACK", runKeyPack},      {"KEY_UNPACK", runKeyUnpack}, {"WINDOW_PUT", runWindowPut},  {"COMPRESS", runCompress}, {"SELECT", runSelect},
    {"ATTENTION", runAttention},   {"ROUTE", runRoute},          {"EXPERTS", runExperts},       {"ADD", runAdd},          {"GATHER", runGather},
    {"CAST", runCast},
};

}  // namespace longshore::cpu
