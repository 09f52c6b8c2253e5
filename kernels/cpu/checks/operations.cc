#include "operations.h"

namespace longshore::cpu {

const OperationEntry kOperations[LS_OP_COUNT] = {
    {"EMBED", checkEmbed},           {"RMS_NORM", checkRmsNorm},     {"LINEAR", checkLinear},         {"HC_PRE", checkHcPre},     {"HC_POST", checkHcPost},
    {"HC_HEAD", checkHcHead},        {"ROPE_TABLE", checkRopeTable}, {"ROPE", checkRope},             {"KV_PACK", checkKvPack},   {"KV_UNPACK", checkKvUnpack},
    {"KEY_PACK", checkKeyPack},      {"KEY_UNPACK", checkKeyUnpack}, {"WINDOW_PUT", checkWindowPut},  {"COMPRESS", checkCompress}, {"SELECT", checkSelect},
    {"ATTENTION", checkAttention},   {"ROUTE", checkRoute},          {"EXPERTS", checkExperts},       {"ADD", checkAdd},          {"GATHER", checkGather},
    {"CAST", checkCast},
};

}  // namespace longshore::cpu
