// EMBED, RMS_NORM, ROPE_TABLE, ROPE, ADD, GATHER, CAST.
#include "operations.h"

namespace longshore::cpu {

Work checkEmbed(Call& c) {
  Dim T{"T"}, n{"n"}, d{"d"}, V{"V"};
  const Operand ids = c.input("ids", {LS_I32}, {T});
  const Operand table = c.input("table", {LS_BF16, LS_F32}, {V, d});
  const Operand streams = c.activationOutput("streams", {T, n, d});
  c.finish();
  const EmbedArgs args{T, n, d, ids.view<int32_t>(), table.in(), streams.out()};
  return [args, rows = V.value, look = Inspector(c)](const Path& path, Pool& pool) {
    look.indices("ids", args.ids, args.T, 0, rows);
    path.embed(args, pool);
  };
}

Work checkRmsNorm(Call& c) {
  Dim R{"R"}, C{"C"};
  const Operand x = c.activation("x", {R, C});
  const Operand w = c.optional("w", {LS_BF16, LS_F32}, {C});
  const Operand y = c.activationOutput("y", {R, C});
  const float eps = c.notNegative("eps");
  c.finish({{"y", "x"}});
  return running(&Path::rmsNorm, {R, C, eps, x.in(), w.in(), y.out()});
}

Work checkRopeTable(Call& c) {
  Dim T{"T"}, pairs{"R/2"};
  const Operand positions = c.input("positions", {LS_I32}, {T});
  const Operand freqs = c.input("freqs", {LS_F32}, {pairs});
  const Operand table = c.output("table", {LS_F32}, {T, pairs, int64_t{2}});
  c.finish();
  return running(&Path::ropeTable, {T, pairs, positions.view<int32_t>(), freqs.view<float>(), table.as<float>()});
}

Work checkRope(Call& c) {
  Dim T{"T"}, h{"h"}, D{"D"}, pairs{"R/2"};
  const Operand x = c.activationOutput("x", {T, h, D});
  const Operand table = c.input("table", {LS_F32}, {T, pairs, int64_t{2}});
  const double sign = c.number("sign");
  c.require(sign == 1 || sign == -1, "sign must be 1 or -1");
  c.require(2 * pairs <= D, "the table rotates more channels than x has");
  c.finish();
  return running(&Path::rope, {T, h, D, pairs, static_cast<float>(sign), x.out(), table.view<float>()});
}

Work checkAdd(Call& c) {
  Dim R{"R"}, C{"C"}, rows{"R/r"};
  const Operand a = c.input("a", {LS_F32, LS_BF16}, {R, C});
  const Operand b = c.input("b", {LS_F32, LS_BF16}, {rows, C});
  const Operand y = c.output("y", {LS_F32, LS_BF16}, {R, C});
  const int64_t repeat = c.whole("r", 1, INT32_MAX);
  c.require(rows * repeat == R, "a must have r rows for each row of b");
  c.finish({{"y", "a"}});
  return running(&Path::add, {R, C, repeat, a.in(), b.in(), y.out()});
}

Work checkGather(Call& c) {
  Dim R{"R"}, C{"C"}, N{"N"};
  const Operand x = c.input("x", {LS_F32, LS_BF16, LS_F8_E4M3, LS_F8_E8M0, LS_F4_E2M1, LS_I32, LS_I64, LS_U8}, {R, C});
  const Operand rows = c.input("rows", {LS_I32}, {N});
  const Operand y = c.output("y", {x.dtype}, {N, C});
  c.finish();
  if (N == 0) return {};
  const GatherArgs args{N, static_cast<int64_t>(y.bytes) / N, x.data, rows.view<int32_t>(), y.data};
  return [args, end = R.value, look = Inspector(c)](const Path& path, Pool& pool) {
    look.indices("rows", args.rows, args.N, 0, end);
    path.gather(args, pool);
  };
}

// Any rank: both shapes bind and meet the same dimensions.
Work checkCast(Call& c) {
  Dim dims[] = {{"C0"}, {"C1"}, {"C2"}, {"C3"}};
  Shape shape;
  for (uint32_t i = 0; i < c.nextRank() && i < 4; i++) shape.add(dims[i]);
  const Operand x = c.input("x", {LS_F32, LS_BF16}, shape);
  const Operand y = c.output("y", {LS_F32, LS_BF16}, shape);
  c.finish({{"y", "x"}});
  return running(&Path::cast, {static_cast<int64_t>(x.bytes) / (x.dtype == LS_F32 ? 4 : 2), x.in(), y.out()});
}

}  // namespace longshore::cpu
