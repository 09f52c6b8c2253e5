#include "shapes.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "limits.h"
#include "session.h"

namespace longshore::bench {
namespace {

constexpr double kShapeSeconds = 0.2;

// Seconds of one call, the median of many.
double secondsOf(ls_op op, const Operands& operands, const std::vector<double>& params) {
  const auto run = [&](long times) {
    const double start = seconds();
    for (long i = 0; i < times; i++) enqueue(op, operands, params);
    must(api->wait(stream));
    return (seconds() - start) / static_cast<double>(times);
  };
  run(1);
  const long times = 1 + static_cast<long>(2e-3 / std::max(1e-6, run(1)));  // above the clock's grain
  std::vector<double> samples;
  for (const double end = seconds() + kShapeSeconds; samples.size() < 3 || seconds() < end;) samples.push_back(run(times));
  return medianOf(samples);
}

// `make` returns the operands; it is not called if the filter leaves the shape out.
template <class Make>
void measure(const std::string& name, ls_op op, Make&& make, const std::vector<double>& params, double flops) {
  if (!wanted(name)) return;
  const Operands operands = make();
  const double seconds = secondsOf(op, operands, params);
  std::printf("%-44s %9.1f us %8.1f GFLOP/s %5.1f %% of peak %7.1f GB/s\n", name.c_str(), seconds * 1e6, flops / seconds / 1e9,
              flops / seconds / 1e7 / peakGflops, bytesOf(operands) / seconds / 1e9);
}

void measure(const std::string& name, ls_op op, const Operands& operands, const std::vector<double>& params, double flops) {
  measure(name, op, [&] { return operands; }, params, flops);
}

ls_tensor expertList(int64_t d, int64_t I, int64_t E) {
  ls_tensor member = {};
  must(api->list_create(&member.list));
  for (int64_t e = 0; e < E; e++) {
    for (const auto& [N, K] : {std::pair{I, d}, {I, d}, {d, I}}) {
      const ls_tensor w = tensor(LS_F4_E2M1, {N, K}), s = scaleOf(LS_F4_E2M1, N, K);
      must(api->list_append(member.list, &w));
      must(api->list_append(member.list, &s));
    }
  }
  return member;
}

// k different experts for each row.
ls_tensor routes(int64_t T, int64_t E, int64_t k) {
  const ls_tensor idx = tensor(LS_I32, {T, k});
  auto* ids = reinterpret_cast<int32_t*>(hostOf(idx));
  for (int64_t t = 0; t < T; t++) {
    for (int64_t j = 0; j < k; j++) ids[t * k + j] = static_cast<int32_t>(E / k * j + nextRandom() % (E / k));
  }
  return idx;
}

// Pages of 128 rows, packed by the backend itself.
ls_tensor pages(ls_op op, int64_t rows, int64_t width, int64_t bytes, const std::vector<double>& params) {
  ls_tensor result = {};
  must(api->list_create(&result.list));
  for (int64_t i = 0; i < rows; i += 128) {
    ls_tensor page = tensor(LS_U8, {128, bytes});
    const std::vector<ls_tensor> pack = {tensor(LS_BF16, {128, width}), page};
    enqueue(op, pack, params);
    page.rank = 1;
    page.shape[0] = 128 * bytes;
    must(api->list_append(result.list, &page));
  }
  must(api->wait(stream));
  return result;
}

ls_tensor packed(ls_op op, int64_t rows, int64_t width, int64_t bytes, const std::vector<double>& params) {
  const std::vector<ls_tensor> pack = {tensor(LS_BF16, {rows, width}), tensor(LS_U8, {rows, bytes})};
  enqueue(op, pack, params);
  must(api->wait(stream));
  return pack[1];
}

}  // namespace

void linear(const char* what, ls_dtype dtype, int64_t T, int64_t K, int64_t N) {
  const char* formats[] = {"f32", "bf16", "e4m3", "", "e2m1"};
  measure(std::string("linear ") + what + " " + formats[dtype] + " " + std::to_string(T) + " x " + std::to_string(K) + " x " + std::to_string(N), LS_LINEAR,
          [&]() -> Operands { return {tensor(LS_BF16, {T, K}), tensor(dtype, {N, K}), scaleOf(dtype, N, K), tensor(LS_BF16, {T, N})}; }, {1}, 2.0 * T * K * N);
}

void experts(const char* what, int64_t T, int64_t d, int64_t I, int64_t E, int64_t k) {
  measure(std::string("experts ") + what + " " + std::to_string(T) + " rows", LS_EXPERTS,
          [&]() -> Operands { return {tensor(LS_BF16, {T, d}), routes(T, E, k), tensor(LS_F32, {T, k}), expertList(d, I, E), tensor(LS_F32, {T, d})}; }, {10},
          6.0 * T * k * d * I);
}

void attention(const char* what, int64_t T, int64_t h, int64_t D, int64_t start, int64_t m, int64_t K) {
  const int64_t W = 128, rope = 64, nope = D - rope, bytes = (nope + 2 * rope + (nope + 63) / 64 + 7) / 8 * 8, visible = m > 0 ? (start + T) / m : 0;
  const std::vector<double> layout = {LS_KV_E4M3_BF16, static_cast<double>(rope)};
  const auto make = [&]() -> Operands {
    ls_tensor sel = kAbsent;
    if (K > 0) {
      sel = tensor(LS_I32, {T, K});
      auto* ids = reinterpret_cast<int32_t*>(hostOf(sel));
      for (int64_t i = 0; i < T * K; i++) ids[i] = static_cast<int32_t>(i % K * ((start + 1) / m / K) + nextRandom() % ((start + 1) / m / K));
    }
    return {tensor(LS_BF16, {T, h, D}), packed(LS_KV_PACK, T, D, bytes, layout), packed(LS_KV_PACK, W, D, bytes, layout), tensor(LS_F32, {h}), sel,
            m > 0 ? pages(LS_KV_PACK, visible, D, bytes, layout) : kAbsent, tensor(LS_BF16, {T, h, D})};
  };
  measure(std::string("attention ") + what + " " + std::to_string(T) + " at " + std::to_string(start), LS_ATTENTION, make,
          {static_cast<double>(start), 0, static_cast<double>(m), LS_KV_E4M3_BF16, static_cast<double>(rope), 0, 128, 0.0625},
          4.0 * T * h * D * static_cast<double>(W + (K > 0 ? K : visible)));
}

void select(const char* what, int64_t T, int64_t h, int64_t start, int64_t K) {
  const int64_t dim = 128, bytes = dim / 2 + dim / 32, keys = (start + T) / 4;
  const auto make = [&]() -> Operands {
    ls_tensor iq = packed(LS_KEY_PACK, T * h, dim, bytes, {LS_KEY_FP4});
    iq.rank = 3;
    iq.shape[0] = T, iq.shape[1] = h, iq.shape[2] = bytes;
    return {iq, tensor(LS_F32, {T, h}), pages(LS_KEY_PACK, keys, dim, bytes, {LS_KEY_FP4}), tensor(LS_I32, {T, K}), kAbsent};
  };
  measure(std::string("select ") + what + " " + std::to_string(T) + " x " + std::to_string(keys) + " keys", LS_SELECT, make,
          {static_cast<double>(start), 4, LS_KEY_FP4, static_cast<double>(dim), 0, 128, 0.05}, 2.0 * T * h * dim * keys);
}

void hyper(const char* what, int64_t T, int64_t d) {
  const int64_t n = 4, outputs = 24;
  const auto streams = [&] { return tensor(LS_BF16, {T, n, d}); };
  const auto post = [&] { return tensor(LS_F32, {T, n}); };
  const auto comb = [&] { return tensor(LS_F32, {T, n, n}); };
  const auto x = [&] { return tensor(LS_BF16, {T, d}); };
  measure(std::string("hc_pre ") + what + " " + std::to_string(T), LS_HC_PRE,
          [&]() -> Operands { return {streams(), tensor(LS_F32, {outputs, n * d}), tensor(LS_F32, {outputs}), tensor(LS_F32, {3}), x(), post(), comb()}; },
          {1e-6, 1e-6, 20}, 2.0 * T * n * d * outputs);
  const auto inPlace = [&]() -> Operands {
    const ls_tensor all = streams();
    return {x(), all, post(), comb(), all};
  };
  measure(std::string("hc_post ") + what + " " + std::to_string(T), LS_HC_POST, inPlace, {}, 2.0 * T * n * n * d);
}

void rows(const char* what, int64_t T, int64_t d, int64_t h, int64_t D) {
  const std::string tail = std::string(" ") + what + " " + std::to_string(T);
  const double elements = static_cast<double>(T * h * D);
  measure("rms_norm" + tail, LS_RMS_NORM, {tensor(LS_BF16, {T * h, D}), kAbsent, tensor(LS_BF16, {T * h, D})}, {1e-6}, elements);
  measure("rope" + tail, LS_ROPE, {tensor(LS_BF16, {T, h, D}), tensor(LS_F32, {T, 32, 2})}, {1}, elements);
  measure("rope_table" + tail, LS_ROPE_TABLE, {tensor(LS_I32, {T}), tensor(LS_F32, {32}), tensor(LS_F32, {T, 32, 2})}, {}, elements);
  const int64_t nope = D - 64, bytes = (nope + 128 + nope / 64 + 7) / 8 * 8;
  measure("kv_pack" + tail, LS_KV_PACK, {tensor(LS_BF16, {T, D}), tensor(LS_U8, {T, bytes})}, {LS_KV_E4M3_BF16, 64}, static_cast<double>(T * D));
  measure("key_pack" + tail, LS_KEY_PACK, {tensor(LS_BF16, {T * h, 128}), tensor(LS_U8, {T * h, 68})}, {LS_KEY_FP4}, static_cast<double>(T * h * 128));
  const auto compress = [&](int64_t m, int64_t copies) {  // copies of the channels: two where windows overlap
    const int64_t w = copies * D;
    measure("compress " + std::to_string(m) + tail, LS_COMPRESS,
            {tensor(LS_F32, {T, w}), tensor(LS_F32, {T, w}), tensor(LS_F32, {m, w}), tensor(LS_F32, {copies * m, 2, w}), tensor(LS_BF16, {T / m, D})},
            {0, static_cast<double>(m), copies - 1.0}, 1.0 * T * w);
  };
  compress(4, 2);
  compress(128, 1);
  measure("add" + tail, LS_ADD, {tensor(LS_F32, {T, d}), tensor(LS_F32, {T, d}), tensor(LS_BF16, {T, d})}, {1}, static_cast<double>(T * d));
}

}  // namespace longshore::bench
