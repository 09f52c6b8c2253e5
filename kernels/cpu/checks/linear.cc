// LINEAR, ROUTE, EXPERTS: everything with weights in the formats of a checkpoint.
#include "../memory.h"
#include "operations.h"

namespace longshore::cpu {

namespace {

int64_t blocks(int64_t x, int64_t size) { return (x + size - 1) / size; }

// The shape of the scales of a weight [rows, K] of this dtype; empty = none.
Shape scaleShape(ls_dtype dtype, int64_t rows, int64_t K) {
  if (dtype == LS_F8_E4M3) return {blocks(rows, kWeightBlock), blocks(K, kWeightBlock)};
  if (dtype == LS_F4_E2M1) return {rows, K / 32};
  return {};
}

constexpr int kExpertTensors = 6;  // w1, s1, w3, s3, w2, s2

// Reads one weight and its scale, at[0] and at[1] of an expert's tensors, for a call that writes `y`.
void readWeight(const Inspector& look, const Operand& y, const ls_tensor* at, const std::string& name, int64_t rows, int64_t K, In& w,
                View<uint8_t>& scale) {
  const Operand weight = look.tensor(name, at[0], {LS_F32, LS_BF16, LS_F8_E4M3, LS_F4_E2M1}, {rows, K});
  look.apart(y, weight);
  w = weight.in();
  const Shape shape = scaleShape(weight.dtype, rows, K);
  if (shape.empty()) return;
  const Operand scales = look.tensor(name + " scale", at[1], {LS_F8_E8M0}, shape);
  look.apart(y, scales);
  scale = {scales.data};
}

// The experts that the first `named` values of idx name, or expert 0;
// none of them lies in `y`. `I` becomes the number of rows of expert 0's w1.
std::vector<Expert> readExperts(const Inspector& look, const Operand& y, ls_list& list, View<int32_t> idx, int64_t named, int64_t d, int64_t& I) {
  const std::lock_guard<std::mutex> turn(list.mutex);
  const int64_t count = static_cast<int64_t>(list.tensors.size()) / kExpertTensors;
  look.require(count > 0 && list.tensors.size() % kExpertTensors == 0, "experts must hold w1, s1, w3, s3, w2, s2 for each expert");
  if (idx) look.indices("idx", idx, named, 0, count);

  I = list.tensors[0].shape[0];
  look.require(I >= 1 && I <= INT32_MAX, "expert 0 has no rows in w1");
  std::vector<Expert> experts(static_cast<size_t>(count), Expert{});
  ls_dtype dtype = LS_F32;
  for (int64_t i = 0; i < named; i++) {
    const size_t e = idx ? static_cast<size_t>(idx[i]) : 0;
    if (experts[e].w1.data != nullptr) continue;
    const ls_tensor* at = &list.tensors[e * kExpertTensors];
    const std::string name = "expert " + std::to_string(e);
    readWeight(look, y, at, name + " w1", I, d, experts[e].w1, experts[e].s1);
    readWeight(look, y, at + 2, name + " w3", I, d, experts[e].w3, experts[e].s3);
    readWeight(look, y, at + 4, name + " w2", d, I, experts[e].w2, experts[e].s2);
    if (i == 0) dtype = experts[e].w1.dtype;
    look.require(experts[e].w1.dtype == dtype && experts[e].w3.dtype == dtype && experts[e].w2.dtype == dtype, "all experts must have the same dtype");
  }
  return experts;
}

// Checks that the rows of the table [rows, k] that ids name hold experts.
void checkTable(const Inspector& look, const RouteArgs& a, int64_t rows) {
  look.indices("ids", a.ids, a.T, 0, rows);
  for (int64_t t = 0; t < a.T; t++)
    for (int64_t i = 0; i < a.k; i++) {
      const int64_t e = a.table[a.ids[t] * a.k + i];
      if (e < 0 || e >= a.E) look.fail("table names expert " + std::to_string(e) + " of " + std::to_string(a.E));
    }
}

}  // namespace

Work checkLinear(Call& c) {
  const int64_t g = c.whole("g", 1, INT32_MAX);
  Dim T{"T"}, gK{"g*K"}, gN{"g*N"};
  const Operand x = c.activation("x", {T, gK});
  c.require(gK % g == 0, "x has columns that are not divided by g");
  const Operand w = c.input("w", {LS_F32, LS_BF16, LS_F8_E4M3, LS_F4_E2M1}, {gN, gK / g});
  c.require(gN > 0 && gN % g == 0, "w has rows that are not divided by g");
  const Shape shape = scaleShape(w.dtype, gN, gK / g);
  const Operand scale = c.optional("scale", {LS_F8_E8M0}, shape);
  c.require(scale.present == !shape.empty(), "E4M3 and E2M1 weights need a scale, others must not have one");
  const Operand y = c.output("y", {LS_F32, x.dtype}, {T, gN});
  c.finish();
  return running(&Path::linear, {T, g, gK / g, gN / g, x.in(), w.in(), scale.view<uint8_t>(), y.out()});
}

Work checkRoute(Call& c) {
  Dim T{"T"}, E{"E"}, V{"V"}, k{"k"};
  const Operand logits = c.input("logits", {LS_F32}, {T, E});
  const Operand bias = c.optional("bias", {LS_F32}, {E});
  const Operand table = c.optional("table", {LS_I64}, {V, k});
  const Operand ids = c.optional("ids", {LS_I32}, {T});
  const Operand idx = c.output("idx", {LS_I32}, {T, k});
  const Operand weights = c.output("weights", {LS_F32}, {T, k});
  const float scaling = c.notNegative("routed_scaling");
  c.require(table.present == ids.present, "table and ids belong together");
  c.require(k <= E, "more slots than experts");
  c.finish();
  const RouteArgs args{T, E, k, scaling, logits.view<float>(), bias.view<float>(), table.view<int64_t>(), ids.view<int32_t>(), idx.as<int32_t>(),
                       weights.as<float>()};
  return [args, byTable = table.present, rows = V.value, look = Inspector(c)](const Path& path, Pool& pool) {
    if (byTable) checkTable(look, args, rows);
    path.route(args, pool);
  };
}

Work checkExperts(Call& c) {
  Dim T{"T"}, d{"d"}, k{"k"};
  const Operand x = c.activation("x", {T, d});
  const Operand idx = c.optional("idx", {LS_I32}, {T, k});
  const Operand weights = c.optional("weights", {LS_F32}, {T, k});
  ls_list* list = c.list("experts", false);
  const Operand y = c.output("y", {LS_F32}, {T, d});
  const double limit = c.number("limit");
  c.require(limit >= 0, "limit must not be negative");
  c.require(idx.present == weights.present, "idx and weights belong together");
  c.finish();
  if (T == 0) return {};
  ExpertsArgs args{T, idx.present ? k.value : 1, d, 0, 0, static_cast<float>(limit), x.in(), idx.view<int32_t>(), weights.view<float>(), nullptr,
                   y.as<float>()};
  return [args, list, y, look = Inspector(c)](const Path& path, Pool& pool) mutable {
    const std::vector<Expert> experts = readExperts(look, y, *list, args.idx, args.idx ? args.T * args.k : 1, args.d, args.I);
    args.experts = experts.data();
    args.count = static_cast<int64_t>(experts.size());
    path.experts(args, pool);
  };
}

}  // namespace longshore::cpu
