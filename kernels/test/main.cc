// longshore_test BACKEND.so [SEED [ROUNDS]]: what only C++ can see - formats value by value, the pool's threads, and every operation through the C
// ABI under sanitizers, with calls as they should be and calls damaged at random.
#include "check.h"

int main(int argc, char** argv) {
  using namespace longshore::test;
  if (argc < 2) {
    std::fprintf(stderr, "usage: longshore_test BACKEND.so [SEED [ROUNDS]]\n");
    return 2;
  }
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 20;
  testFormats();
  testThreads();
  testOperations(argv[1], seed, rounds);
  return 0;
}
