// COMPRESS (spec 2.4): softmax-pooled windows of m tokens, sixteen channels at a time; where windows overlap, with the
// first half of the previous window's channels. Windows are pooled first, reading positions before `start` from the
// ring; then the ring takes the last positions.
#include "path.h"

#include "math.h"
#include "memory.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

struct Tokens {
  const CompressArgs& a;
  int64_t slots, width;

  explicit Tokens(const CompressArgs& args) : a(args), slots(args.overlap ? 2 * args.m : args.m), width(args.overlap ? 2 * args.Dc : args.Dc) {}

  float* ring(int64_t position) const { return a.ring + position % slots * 2 * width; }

  template <class Read>
  V k(int64_t position, int64_t channel, Read read) const {
    if (position < a.start) return read(ring(position) + channel);
    return read(at<float>(a.k.data, (position - a.start) * width + channel));
  }
  template <class Read>
  V z(int64_t position, int64_t channel, Read read) const {
    if (position < a.start) return read(ring(position) + width + channel);
    return LONGSHORE_PATH::add(read(at<float>(a.z.data, (position - a.start) * width + channel)), read(at<float>(a.ape.data, position % a.m * width + channel)));
  }
};

template <class E>
void poolWindow(const Tokens& tokens, int64_t window, E* pooled) {
  const CompressArgs& a = tokens.a;
  const int64_t current = window * a.m, oldest = a.overlap && window > 0 ? current - a.m : current, end = current + a.m;
  forLanes(a.Dc, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED {
    const auto channel = [&](int64_t position) { return a.overlap && position >= current ? c + a.Dc : c; };
    V largest = set(-__builtin_inff());
    for (int64_t p = oldest; p < end; p++) largest = max(largest, tokens.z(p, channel(p), read));
    V mass = zero(), sum = zero();
    for (int64_t p = oldest; p < end; p++) {
      const V weight = exp(sub(tokens.z(p, channel(p), read), largest));
      mass = LONGSHORE_PATH::add(mass, weight);
      sum = fma(weight, tokens.k(p, channel(p), read), sum);
    }
    write(pooled + c, div(sum, mass));
  });
}

void keep(const Tokens& tokens) {
  const CompressArgs& a = tokens.a;
  for (int64_t p = maxOf(a.start, a.start + a.T - tokens.slots); p < a.start + a.T; p++) {
    float* ring = tokens.ring(p);
    forLanes(tokens.width, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED {
      write(ring + c, tokens.k(p, c, read));
      write(ring + tokens.width + c, tokens.z(p, c, read));
    });
  }
}

}  // namespace

void compress(const CompressArgs& a, Pool& pool) {
  const Tokens tokens(a);
  const int64_t first = a.start / a.m, windows = (a.start + a.T) / a.m - first;
  withElement(a.pooled.dtype == LS_F32, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    pool.parallelFor(windows, grainOf(tokens.slots * a.Dc), [&](int64_t begin, int64_t end, uint32_t) {
      for (int64_t w = begin; w < end; w++) poolWindow(tokens, first + w, at<E>(a.pooled.data, w * a.Dc));
    });
  });
  keep(tokens);
}

}  // namespace longshore::cpu::LONGSHORE_PATH
