// Operations that look at one row or one value at a time: EMBED, RMS_NORM, ADD, GATHER, CAST, ROPE_TABLE, ROPE.
#include "path.h"

#include "memory.h"

namespace longshore::cpu::LONGSHORE_PATH {

namespace {

template <class From, class To>
void copyRow(const From* x, To* y, int64_t count) {
  forLanes(count, [&](int64_t k, auto read, auto write) LONGSHORE_INLINED { write(y + k, read(x + k)); });
}

template <class E, class W>
void normRow(const E* x, const W* w, int64_t C, float eps, E* y) {
  V squares = zero();
  forLanes(C, [&](int64_t c, auto read, auto) LONGSHORE_INLINED {
    const V v = read(x + c);
    squares = fma(v, v, squares);
  });
  const V factor = set(1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(C) + eps));
  forLanes(C, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED {
    const V v = mul(read(x + c), factor);
    write(y + c, w != nullptr ? mul(v, read(w + c)) : v);
  });
}

// Calls body with null pointers of the two types.
template <class Body>
void withElements(ls_dtype a, ls_dtype b, Body&& body) {
  withElement(a == LS_F32, [&](auto* x) { withElement(b == LS_F32, [&](auto* y) { body(x, y); }); });
}

template <class P>
using Pointed = std::remove_pointer_t<P>;

}  // namespace

void embed(const EmbedArgs& a, Pool& pool) {
  withElements(a.table.dtype, a.streams.dtype, [&](auto* from, auto* to) {
    pool.parallelFor(a.T, grainOf(a.n * a.d / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
      for (int64_t t = begin; t < end; t++) {
        for (int64_t j = 0; j < a.n; j++) {
          copyRow(at<Pointed<decltype(from)>>(a.table.data, a.ids[t] * a.d), at<Pointed<decltype(to)>>(a.streams.data, (t * a.n + j) * a.d), a.d);
        }
      }
    });
  });
}

void rmsNorm(const RmsNormArgs& a, Pool& pool) {
  withElements(a.x.dtype, a.w.dtype, [&](auto* e, auto* w) {
    using E = Pointed<decltype(e)>;
    pool.parallelFor(a.R, grainOf(2 * a.C / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
      for (int64_t r = begin; r < end; r++) normRow(at<E>(a.x.data, r * a.C), at<Pointed<decltype(w)>>(a.w.data, 0), a.C, a.eps, at<E>(a.y.data, r * a.C));
    });
  });
}

void add(const AddArgs& a, Pool& pool) {
  withElements(a.a.dtype, a.b.dtype, [&](auto* x, auto* z) {
    withElement(a.y.dtype == LS_F32, [&](auto* y) {
      pool.parallelFor(a.R, grainOf(a.C / kLanes), [&](int64_t begin, int64_t end, uint32_t) {
        for (int64_t r = begin; r < end; r++) {
          const auto* ar = at<Pointed<decltype(x)>>(a.a.data, r * a.C);
          const auto* br = at<Pointed<decltype(z)>>(a.b.data, r / a.repeat * a.C);
          auto* yr = at<Pointed<decltype(y)>>(a.y.data, r * a.C);
          forLanes(a.C, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED { write(yr + c, LONGSHORE_PATH::add(read(ar + c), read(br + c))); });
        }
      });
    });
  });
}

void gather(const GatherArgs& a, Pool& pool) {
  pool.parallelFor(a.N, grainOf(a.rowBytes / 64), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t n = begin; n < end; n++) std::memcpy(a.y + n * a.rowBytes, a.x + a.rows[n] * a.rowBytes, static_cast<size_t>(a.rowBytes));
  });
}

void cast(const CastArgs& a, Pool& pool) {
  withElements(a.x.dtype, a.y.dtype, [&](auto* from, auto* to) {
    pool.parallelFor(a.count, 1 << 16, [&](int64_t begin, int64_t end, uint32_t) {
      copyRow(at<Pointed<decltype(from)>>(a.x.data, begin), at<Pointed<decltype(to)>>(a.y.data, begin), end - begin);
    });
  });
}

void ropeTable(const RopeTableArgs& a, Pool& pool) {
  pool.parallelFor(a.T, grainOf(32 * a.pairs), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t t = begin; t < end; t++) {
      for (int64_t i = 0; i < a.pairs; i++) {
        const double angle = static_cast<double>(static_cast<float>(a.positions[t]) * a.freqs[i]);
        a.table[(t * a.pairs + i) * 2] = static_cast<float>(::cos(angle));
        a.table[(t * a.pairs + i) * 2 + 1] = static_cast<float>(::sin(angle));
      }
    }
  });
}

constexpr int64_t kRowsAhead = 16;  // only a part of each row is read: the processor does not guess where the next one lies

// A pair (e, o) lies in neighbouring lanes and becomes (e cos - o sin, o cos + e sin).
void rope(const RopeArgs& a, Pool& pool) {
  const float signs[kLanes] = {-a.sign, a.sign, -a.sign, a.sign, -a.sign, a.sign, -a.sign, a.sign, -a.sign, a.sign, -a.sign, a.sign, -a.sign, a.sign, -a.sign, a.sign};
  const int64_t R = 2 * a.pairs;
  withElement(a.x.dtype == LS_F32, [&](auto* e) {
    using E = Pointed<decltype(e)>;
    pool.parallelFor(a.T, grainOf(a.h * blocksOf(R, kLanes)), [&](int64_t begin, int64_t end, uint32_t) {
      for (int64_t r = begin * a.h; r < end * a.h; r++) {
        E* x = at<E>(a.x.data, (r + 1) * a.D - R);
        for (int64_t c = 0; c < R; c += kVector<E>) __builtin_prefetch(addressAt(x, (kRowsAhead * a.D + c) * static_cast<int64_t>(sizeof(E))), 1, 2);
        const float* table = at<float>(a.table.data, r / a.h * R);
        forLanes(R, [&](int64_t c, auto read, auto write) LONGSHORE_INLINED {
          const V v = read(x + c), turn = read(table + c);
          write(x + c, fma(v, evens(turn), mul(swap<1>(v), mul(odds(turn), load(signs)))));
        });
      }
    });
  });
}

}  // namespace longshore::cpu::LONGSHORE_PATH
