// Operations at shapes of models: `what` names the model. Each prints one line, if the filter selects it.
#pragma once

#include <cstdint>

#include "longshore/kernels.h"

namespace longshore::bench {

void linear(const char* what, ls_dtype dtype, int64_t T, int64_t K, int64_t N);

// T rows of width d, each through k of E experts of inner width I.
void experts(const char* what, int64_t T, int64_t d, int64_t I, int64_t E, int64_t k);

// m = 0: window only; K = 0: all compressed entries.
void attention(const char* what, int64_t T, int64_t h, int64_t D, int64_t start, int64_t m, int64_t K);

constexpr int64_t kBenchKeys = 262'144;  // a context of a million tokens

void select(const char* what, int64_t T, int64_t h, int64_t start, int64_t K);

void hyper(const char* what, int64_t T, int64_t d);

// The other operations of a layer; one flop is counted for each element.
void rows(const char* what, int64_t T, int64_t d, int64_t h, int64_t D);

// One token or a few; weights are read from a file that no cache holds.
void decodeLinear(ls_dtype dtype, int64_t T, int64_t K, int64_t N);

// One token through k of many experts; each is used once before any is used again.
void decodeExperts(ls_dtype dtype, int64_t d, int64_t I, int64_t k);

// One token or a few; the mixing weights of each layer are read once.
void decodeHyper(int64_t T, int64_t d);

}  // namespace longshore::bench
