#!/bin/sh
# The C++ test under sanitizers: addresses and undefined behaviour, then races. Runs every path this machine has, and
# names those it lacks.
#   sh kernels/test/sanitize.sh [SEED [ROUNDS]]
set -eu
cd "$(dirname "$0")/../.."

check() {
  folder=build/sanitize/$1
  cmake -S kernels -B "$folder" "-D$2=ON" >/dev/null
  cmake --build "$folder" -j "$(getconf _NPROCESSORS_ONLN)" --target longshore_test
  "$folder/longshore_test" "$folder/liblongshore_cpu.so" "$seed" "$rounds"
}

seed=${1:-1}
rounds=${2:-20}
check address LONGSHORE_SANITIZE
check thread LONGSHORE_SANITIZE_THREADS
