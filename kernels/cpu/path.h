// One way of computing every operation of kernels.h: the border between the backend (buffers, checks, streams) and a
// path.
//
// A path's functions get plain arguments, already checked (arguments.h), so they cannot fail and return nothing.
//
//   alignment   inputs may lie at any byte (mapped weights): read them through View, memcpy or unaligned loads; outputs
//               are element-aligned
//   bits        a row of an output depends on the same row of the inputs alone, never on other rows, on
//               Pool::threads() or on addresses (I7)
//   floats      no contraction by the compiler (-ffp-contract=off), denormals kept, round to nearest even
#pragma once

#include "arguments.h"
#include "pool.h"

namespace longshore::cpu {

template <class Args>
using Kernel = void (*)(const Args&, Pool&);

struct Path {
  Kernel<EmbedArgs> embed;
  Kernel<RmsNormArgs> rmsNorm;
  Kernel<LinearArgs> linear;
  Kernel<HcPreArgs> hcPre;
  Kernel<HcPostArgs> hcPost;
  Kernel<HcHeadArgs> hcHead;
  Kernel<RopeTableArgs> ropeTable;
  Kernel<RopeArgs> rope;
  Kernel<KvPackArgs> kvPack;
  Kernel<KvUnpackArgs> kvUnpack;
  Kernel<KeyPackArgs> keyPack;
  Kernel<KeyUnpackArgs> keyUnpack;
  Kernel<WindowPutArgs> windowPut;
  Kernel<CompressArgs> compress;
  Kernel<SelectArgs> select;
  Kernel<AttentionArgs> attention;
  Kernel<RouteArgs> route;
  Kernel<ExpertsArgs> experts;
  Kernel<AddArgs> add;
  Kernel<GatherArgs> gather;
  Kernel<CastArgs> cast;
};

// The paths of this build; the function of a path that is not linked in is null (weak symbols, see paths.cc). A path
// without an entry of its own has the reference path's.
const Path* referencePath();
__attribute__((weak)) const Path* portablePath();
__attribute__((weak)) const Path* portablebf16Path();
__attribute__((weak)) const Path* portableamxPath();
__attribute__((weak)) const Path* neonPath();
__attribute__((weak)) const Path* avx2Path();
__attribute__((weak)) const Path* avx512Path();
__attribute__((weak)) const Path* avx512bf16Path();
__attribute__((weak)) const Path* amxPath();

}  // namespace longshore::cpu

// The name of one of these: LONGSHORE_TABLE(LONGSHORE_PATH) is avx2Path where LONGSHORE_PATH is avx2.
#define LONGSHORE_TABLE(path) LONGSHORE_PASTE(path, Path)
#define LONGSHORE_PASTE(name, suffix) name##suffix
