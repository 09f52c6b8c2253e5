// The backend that is measured and the operands it is given. There is one of each for the process; operands live until it ends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longshore/kernels.h"

namespace longshore::bench {

extern const ls_backend_api* api;
extern ls_stream* stream;
extern uint32_t threads;
extern double peakGflops;  // of the machine's matrix unit on as many threads
extern const char* filter;

using Operands = std::vector<ls_tensor>;

// Ends the process with the backend's words.
void must(ls_status status);

// Whether the filter leaves it in.
bool wanted(const std::string& name);

uint32_t nextRandom();

uint8_t* hostOf(const ls_tensor& t);

double bytesPer(ls_dtype dtype);

// Random, small and finite whatever the dtype.
ls_tensor tensor(ls_dtype dtype, std::vector<int64_t> shape);

const ls_tensor kAbsent = {};

// Of the scales of a weight [N, K]; empty: it has none.
std::vector<int64_t> scaleShape(ls_dtype dtype, int64_t N, int64_t K);

// The scales of a weight [N, K], or kAbsent.
ls_tensor scaleOf(ls_dtype dtype, int64_t N, int64_t K);

// Lists are not counted.
double bytesOf(const Operands& operands);

void enqueue(ls_op op, const Operands& operands, const std::vector<double>& params);

// Each of `rotation` once, and waits.
void runAll(ls_op op, const std::vector<Operands>& rotation, const std::vector<double>& params);

}  // namespace longshore::bench
