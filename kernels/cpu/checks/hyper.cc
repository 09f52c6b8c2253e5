// HC_PRE, HC_POST, HC_HEAD.
#include "operations.h"

namespace longshore::cpu {

namespace {

constexpr int64_t kSinkhornMax = 1000;

}  // namespace

Work checkHcPre(Call& c) {
  Dim T{"T"}, n{"n"}, d{"d"};
  const Operand streams = c.activation("streams", {T, n, d});
  c.require(n <= kCopiesMax, "more than 64 streams");
  const Operand fn = c.input("fn", {LS_F32}, {(2 + n) * n, n * d});
  const Operand base = c.input("base", {LS_F32}, {(2 + n) * n});
  const Operand scale = c.input("scale", {LS_F32}, {int64_t{3}});
  const Operand x = c.activationOutput("x", {T, d});
  const Operand post = c.output("post", {LS_F32}, {T, n});
  const Operand comb = c.output("comb", {LS_F32}, {T, n, n});
  const float rmsEps = c.notNegative("rms_eps"), hcEps = c.notNegative("hc_eps");
  const int64_t iterations = c.whole("sinkhorn_iters", 1, kSinkhornMax);
  c.finish();
  return running(&Path::hcPre, {T, n, d, rmsEps, hcEps, static_cast<int32_t>(iterations), streams.in(), fn.view<float>(), base.view<float>(),
                                scale.view<float>(), x.out(), post.as<float>(), comb.as<float>()});
}

Work checkHcPost(Call& c) {
  Dim T{"T"}, n{"n"}, d{"d"};
  const Operand y = c.activation("y", {T, d});
  const Operand streams = c.activation("streams", {T, n, d});
  c.require(n <= kCopiesMax, "more than 64 streams");
  const Operand post = c.input("post", {LS_F32}, {T, n});
  const Operand comb = c.input("comb", {LS_F32}, {T, n, n});
  const Operand out = c.activationOutput("streams'", {T, n, d});
  c.finish({{"streams'", "streams"}});
  return running(&Path::hcPost, {T, n, d, y.in(), streams.in(), post.view<float>(), comb.view<float>(), out.out()});
}

Work checkHcHead(Call& c) {
  Dim T{"T"}, n{"n"}, d{"d"};
  const Operand streams = c.activation("streams", {T, n, d});
  c.require(n <= kCopiesMax, "more than 64 streams");
  const Operand fn = c.input("fn", {LS_F32}, {n, n * d});
  const Operand base = c.input("base", {LS_F32}, {n});
  const Operand scale = c.input("scale", {LS_F32}, {int64_t{1}});
  const Operand h = c.activationOutput("h", {T, d});
  const float rmsEps = c.notNegative("rms_eps"), hcEps = c.notNegative("hc_eps");
  c.finish();
  return running(&Path::hcHead, {T, n, d, rmsEps, hcEps, streams.in(), fn.view<float>(), base.view<float>(), scale.view<float>(), h.out()});
}

}  // namespace longshore::cpu
