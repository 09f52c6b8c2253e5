// ROPE_TABLE and ROPE (spec 2.2).
#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

void ropeTable(const RopeTableArgs& a, Pool&) {
  for (int64_t t = 0; t < a.T; t++)
    for (int64_t i = 0; i < a.pairs; i++) {
      const float angle = static_cast<float>(a.positions[t]) * a.freqs[i];
      a.table[(t * a.pairs + i) * 2] = static_cast<float>(std::cos(static_cast<double>(angle)));
      a.table[(t * a.pairs + i) * 2 + 1] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
}

void rope(const RopeArgs& a, Pool&) {
  const In x = {a.x.data, a.x.dtype};
  for (int64_t r = 0; r < a.T * a.h; r++)
    for (int64_t i = 0; i < a.pairs; i++) {
      const int64_t even = (r + 1) * a.D - 2 * (a.pairs - i), pair = (r / a.h * a.pairs + i) * 2;
      const double cos = static_cast<double>(a.table[pair]), sin = static_cast<double>(a.sign * a.table[pair + 1]);
      const double e = load(x, even), o = load(x, even + 1);
      store(a.x, even, e * cos - o * sin);
      store(a.x, even + 1, e * sin + o * cos);
    }
}

}  // namespace longshore::cpu::reference
