#!/bin/sh
# Kernels, addon and backends into build/kernels, or only the targets that are named. The build's own output is shown only when it fails.
# Usage: deploy/build-kernels.sh [--native] [targets]     --native: the kernel paths that this machine runs (LONGSHORE_PATHS), unless all were built here before.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build
# A checkout that was moved or copied holds a build with the paths of where it was, which cmake refuses.
cache=build/kernels/CMakeCache.txt
grep -qsFx "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)/kernels" $cache || rm -rf build/kernels
paths=all
if [ "${1:-}" = --native ]; then
  shift
  grep -qsFx "LONGSHORE_PATHS:STRING=all" $cache || paths=native
fi
log=build/kernels.log
: >$log

# How far make is, once a second, while this script lives.
show_progress() {
  while kill -0 $$ 2>/dev/null; do
    printf '\rkernels %s ' "$(grep -o '^\[ *[0-9]*%]' $log | tail -n 1)"
    sleep 1
  done
}
if [ -t 1 ]; then
  show_progress &
  trap "kill $!; printf '\r               \r'" EXIT
fi

{ cmake -S kernels -B build/kernels -DCMAKE_BUILD_TYPE=Release -DLONGSHORE_PATHS=$paths && cmake --build build/kernels -j "$(getconf _NPROCESSORS_ONLN)" ${1:+--target "$@"}; } >"$log" 2>&1 || {
  cat "$log" >&2
  echo "the kernels did not build; the output above is in $log" >&2
  exit 1
}
