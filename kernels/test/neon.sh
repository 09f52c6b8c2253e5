#!/bin/sh
# NEON without an aarch64 machine: cross-builds kernels, addon and C++ test, and runs the test under emulation. Every
# operation must have the same bits there as here, where the portable path and those of its order give them.
#   sh kernels/test/neon.sh [SEED [ROUNDS]]
set -eu
cd "$(dirname "$0")/../.."

for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null && continue
  echo "$tool is missing; on Debian: apt-get install g++-aarch64-linux-gnu qemu-user" >&2
  exit 3
done

# check FOLDER [EMULATOR...]
check() {
  folder=$1
  shift
  cmake --build "$folder" -j "$(getconf _NPROCESSORS_ONLN)" --target all longshore_test longshore_bench longshore_roofline >/dev/null
  "$@" "$folder/longshore_test" "$folder/liblongshore_cpu.so" "$seed" "$rounds" "$folder/digests"
}

seed=${1:-1}
rounds=${2:-20}
cmake -S kernels -B build/aarch64 -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ >/dev/null
cmake -S kernels -B build/kernels -DLONGSHORE_PATHS=all >/dev/null
echo "emulated aarch64"
check build/aarch64 qemu-aarch64 -L /usr/aarch64-linux-gnu
echo "this machine"
check build/kernels
diff build/aarch64/digests build/kernels/digests || {
  echo "SEED=$seed: these operations have other bits on aarch64 than here" >&2
  exit 1
}
echo "every operation has the same bits on aarch64 as here"
