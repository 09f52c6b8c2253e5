// ATTENTION (spec 2.3): one softmax over compressed entries and window, with the sink as mass that has no value.
#include <algorithm>
#include <vector>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

namespace {

using Row = std::vector<float>;

Row unpacked(const AttentionArgs& a, const uint8_t* entry) {
  Row row(static_cast<size_t>(a.nope + a.rope));
  unpackKvRow(a.layout, a.nope, a.rope, entry, row.data());
  return row;
}

// S(t): compressed entries ascending, then window positions ascending.
std::vector<Row> visibleRows(const AttentionArgs& a, int64_t i) {
  std::vector<Row> rows;
  if (a.sel) {
    for (int64_t j = 0; j < a.K; j++)
      if (a.sel[i * a.K + j] >= 0) rows.push_back(unpacked(a, a.pages.row(a.sel[i * a.K + j])));
  } else {
    for (int64_t s = 0; s < a.visible(i); s++) rows.push_back(unpacked(a, a.pages.row(s)));
  }
  for (int64_t p = a.windowFirst(i); p <= a.start + i; p++) rows.push_back(unpacked(a, a.windowRow(p)));
  return rows;
}

void attendHead(const AttentionArgs& a, const std::vector<Row>& rows, int64_t i, int64_t head) {
  const int64_t D = a.nope + a.rope, at = (i * a.h + head) * D;
  std::vector<double> p;
  for (const Row& row : rows) p.push_back(dot(a.q, at, {row.data(), LS_F32}, 0, D) * static_cast<double>(a.scale));
  const double largest = *std::max_element(p.begin(), p.end());
  double mass = std::exp(static_cast<double>(a.sink[head]) - largest);
  for (double& x : p) mass += x = std::exp(x - largest);
  if (a.o.dtype == LS_BF16)
    for (double& x : p) x = static_cast<double>(bf16Decode(bf16Encode(roundToOdd(x))));
  for (int64_t c = 0; c < D; c++) {
    double sum = 0;
    for (size_t s = 0; s < rows.size(); s++) sum += p[s] * static_cast<double>(rows[s][static_cast<size_t>(c)]);
    store(a.o, at + c, sum / mass);
  }
}

}  // namespace

void attention(const AttentionArgs& a, Pool& pool) {
  pool.parallelFor(a.T, 1, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++) {
      const std::vector<Row> rows = visibleRows(a, i);
      for (int64_t head = 0; head < a.h; head++) attendHead(a, rows, i, head);
    }
  });
}

}  // namespace longshore::cpu::reference
