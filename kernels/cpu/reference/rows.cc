// Operations that look at one row or one value at a time: EMBED, RMS_NORM, ADD, GATHER, CAST.
#include <cstring>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

void embed(const EmbedArgs& a, Pool&) {
  for (int64_t t = 0; t < a.T; t++)
    for (int64_t j = 0; j < a.n; j++)
      for (int64_t c = 0; c < a.d; c++) store(a.streams, (t * a.n + j) * a.d + c, load(a.table, a.ids[t] * a.d + c));
}

// spec 2.0: x * rsqrt(mean(x^2) + eps) * w
void rmsNorm(const RmsNormArgs& a, Pool& pool) {
  pool.parallelFor(a.R, grain(a.C), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t r = begin; r < end; r++) {
      double squares = 0;
      for (int64_t c = 0; c < a.C; c++) squares += load(a.x, r * a.C + c) * load(a.x, r * a.C + c);
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(a.C) + static_cast<double>(a.eps));
      for (int64_t c = 0; c < a.C; c++) store(a.y, r * a.C + c, load(a.x, r * a.C + c) * factor * (a.w.data != nullptr ? load(a.w, c) : 1.0));
    }
  });
}

void add(const AddArgs& a, Pool&) {
  for (int64_t r = 0; r < a.R; r++)
    for (int64_t c = 0; c < a.C; c++) store(a.y, r * a.C + c, load(a.a, r * a.C + c) + load(a.b, r / a.repeat * a.C + c));
}

void gather(const GatherArgs& a, Pool&) {
  for (int64_t n = 0; n < a.N; n++) std::memcpy(a.y + n * a.rowBytes, a.x + a.rows[n] * a.rowBytes, static_cast<size_t>(a.rowBytes));
}

void cast(const CastArgs& a, Pool&) {
  for (int64_t i = 0; i < a.count; i++) store(a.y, i, load(a.x, i));
}

}  // namespace longshore::cpu::reference
