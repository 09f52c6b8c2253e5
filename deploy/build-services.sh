#!/bin/sh
# TypeScript into dist, made anew so that no file of a deleted source lives on. The time of dist/.built: what was changed since may be in it or not.
set -eu
cd "$(dirname "$0")/.."
rm -rf dist
mkdir dist
: > dist/.begun
npx --no-install tsc -p .
chmod +x dist/services/cli/main.js # npx makes it so once, when it links the command
mv dist/.begun dist/.built
