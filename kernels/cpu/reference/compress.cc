// COMPRESS (spec 2.4): softmax-pooled windows of m tokens, with the
// first half of the previous window's channels where windows overlap.
#include <algorithm>

#include "reference.h"
#include "values.h"

namespace longshore::cpu::reference {

namespace {

struct Ring {
  float* data;
  int64_t slots, width;
  float* k(int64_t position) const { return data + position % slots * 2 * width; }
  float* z(int64_t position) const { return k(position) + width; }
};

void put(const CompressArgs& a, const Ring& ring, int64_t row) {
  const int64_t position = a.start + row;
  for (int64_t c = 0; c < ring.width; c++) {
    ring.k(position)[c] = a.k[row * ring.width + c];
    ring.z(position)[c] = a.z[row * ring.width + c] + a.ape[position % a.m * ring.width + c];
  }
}

// Channel ch of the window that ends at position `last`. The slots:
// the previous window with channel ch, this one with channel ch + Dc.
double pool(const CompressArgs& a, const Ring& ring, int64_t last, int64_t ch) {
  const int64_t current = last + 1 - a.m;
  const int64_t oldest = a.overlap ? std::max<int64_t>(0, current - a.m) : current;
  const auto channel = [&](int64_t position) { return a.overlap && position >= current ? ch + a.Dc : ch; };

  double largest = -INFINITY, mass = 0, sum = 0;
  for (int64_t p = oldest; p <= last; p++) largest = std::max(largest, static_cast<double>(ring.z(p)[channel(p)]));
  for (int64_t p = oldest; p <= last; p++) {
    const double weight = std::exp(static_cast<double>(ring.z(p)[channel(p)]) - largest);
    mass += weight;
    sum += weight * static_cast<double>(ring.k(p)[channel(p)]);
  }
  return sum / mass;
}

}  // namespace

void compress(const CompressArgs& a, Pool&) {
  const Ring ring = {a.ring, a.overlap ? 2 * a.m : a.m, a.overlap ? 2 * a.Dc : a.Dc};
  int64_t windows = 0;
  for (int64_t row = 0; row < a.T; row++) {
    put(a, ring, row);
    const int64_t position = a.start + row;
    if ((position + 1) % a.m != 0) continue;
    for (int64_t ch = 0; ch < a.Dc; ch++) store(a.pooled, windows * a.Dc + ch, pool(a, ring, position, ch));
    windows++;
  }
}

}  // namespace longshore::cpu::reference
