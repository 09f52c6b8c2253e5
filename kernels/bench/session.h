// The backend under measurement and its operands. There is one of each for the process; operands live until it ends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longshore/kernels.h"

namespace longshore::bench {

extern const ls_backend_api* api;
extern ls_stream* stream;
extern uint32_t threads;
extern double peakGflops;  // of the machine's matrix unit, on `threads` threads
extern const char* filter;

using Operands = std::vector<ls_tensor>;

// Ends the process with the backend's message.
void must(ls_status status);

// Whether the filter selects it.
bool wanted(const std::string& name);

uint32_t nextRandom();

uint8_t* hostOf(const ls_tensor& t);

double bytesPer(ls_dtype dtype);

// Random values, small and finite whatever the dtype.
ls_tensor tensor(ls_dtype dtype, std::vector<int64_t> shape);

const ls_tensor kAbsent = {};

// The shape of the scales of a weight [N, K]; empty if it has none.
std::vector<int64_t> scaleShape(ls_dtype dtype, int64_t N, int64_t K);

// The scales of a weight [N, K], or kAbsent.
ls_tensor scaleOf(ls_dtype dtype, int64_t N, int64_t K);

// Bytes of the operands; lists are not counted.
double bytesOf(const Operands& operands);

void enqueue(ls_op op, const Operands& operands, const std::vector<double>& params);

// Runs each of `rotation` once, and waits.
void runAll(ls_op op, const std::vector<Operands>& rotation, const std::vector<double>& params);

}  // namespace longshore::bench
