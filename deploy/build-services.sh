#!/bin/sh
# TypeScript into dist, made anew so that no file of a deleted source lives on.
set -eu
cd "$(dirname "$0")/.."
rm -rf dist
npx --no-install tsc -p .
chmod +x dist/services/cli/main.js # npx makes it so once, when it links the command
