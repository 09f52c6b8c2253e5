#!/bin/sh
# TypeScript into dist, made anew so that no file of a deleted source lives on.
set -eu
cd "$(dirname "$0")/.."
rm -rf dist
npx --no-install tsc -p .
mkdir -p dist/proto
if [ -d proto/gen ]; then cp -R proto/gen dist/proto/; fi
