// exp and its kin on sixteen lanes: within 2 ulp of the exact value, the same bits on every instruction set.
#pragma once

#include <initializer_list>

#include "vec.h"

namespace longshore::cpu::LONGSHORE_PATH {

// exp(x) = 2^n * exp(r), |r| <= ln(2)/2, Taylor to r^7 (the rest is below 2^-27). NaN stays NaN.
LONGSHORE_INLINE V exp(V x) {
  x = min(set(89.0f), x);  // inf
  x = max(set(-104.0f), x);  // 0
  const I n = toInt(mul(x, set(0x1.715476p0f)));
  V r = fma(toFloat(n), set(-0x1.62e4p-1f), x);  // ln(2) in two parts: n times the first is exact
  r = fma(toFloat(n), set(-0x1.7f7d1cp-20f), r);
  V p = set(1.0f / 5040);
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = fma(p, r, set(c));
  return timesPower(p, n);
}

// log(1 + u) for 0 <= u <= 1: twice the artanh of u / (2 + u), whose square is at most 1/9.
LONGSHORE_INLINE V log1p(V u) {
  const V s = div(u, add(u, set(2.0f))), q = mul(s, s);
  V p = set(2.0f / 17);
  for (const float c : {2.0f / 15, 2.0f / 13, 2.0f / 11, 2.0f / 9, 2.0f / 7, 2.0f / 5, 2.0f / 3}) p = fma(p, q, set(c));
  return fma(mul(p, q), s, add(s, s));
}

LONGSHORE_INLINE V sigmoid(V x) { return div(set(1.0f), add(set(1.0f), exp(negate(x)))); }
LONGSHORE_INLINE V silu(V x) { return div(x, add(set(1.0f), exp(negate(x)))); }
LONGSHORE_INLINE V softplus(V x) { return add(max(x, zero()), log1p(exp(negate(absolute(x))))); }

}  // namespace longshore::cpu::LONGSHORE_PATH
