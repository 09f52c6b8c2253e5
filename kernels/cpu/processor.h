// What the processor and the operating system of this machine allow.
#pragma once

#include <string>

namespace longshore::cpu {

// Each returns "" if its code may run here, else the reason, for people.
std::string whyNoNeon();
std::string whyNoAvx2();
std::string whyNoAvx512();
std::string whyNoAvx512Bf16();
std::string whyNoAmx();  // asks the operating system for the use of tiles, once for all threads of the process

// Whether AMX can also multiply tiles of bytes.
bool hasByteTiles();

}  // namespace longshore::cpu
