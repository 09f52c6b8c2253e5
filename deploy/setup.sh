#!/bin/sh
# Prepares a machine that has nothing but Node and a package manager: tools, npm packages, kernels, compiled services.
# Usage: deploy/setup.sh [demo|test|tools]     demo: no servers needed, and the kernel paths of this machine alone.  test: nats-server and redis-server, and every path.
# tools: stop after the tools.
# Safe to repeat: what is there is left alone. Exit 3: something is missing that only you can install; the line to run is printed.
set -eu
goal=${1:-demo}
cd "$(dirname "$0")/.."
PATH="$PATH:${SETUP_SBIN-/usr/local/sbin:/usr/sbin}"   # where Debian keeps nats-server
export PATH

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 3; }
have() { command -v "$1" >/dev/null 2>&1; }

check_node() {
  have node || fail "Node 20.19 or newer is needed and was not found. See https://nodejs.org/en/download"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node 20.19 or newer is needed; this is $(node --version)."
}

# Prints the distribution packages that would bring the missing tools.
missing_packages() {
  have g++ || echo g++
  have cmake || echo cmake
  have make || echo make
  [ "$goal" = demo ] && return 0
  have nats-server || echo nats-server
  have redis-server || echo redis-server
}

install_tools() {
  packages=$(missing_packages | tr '\n' ' ')
  [ -z "$packages" ] && return 0
  line="apt-get install -y --no-install-recommends $packages"
  have apt-get || fail "missing: ${packages}- install them with your distribution's package manager, then repeat."
  if [ "$(id -u)" = 0 ]; then root=""
  elif have sudo && sudo -n true 2>/dev/null; then root="sudo -n"
  else fail "missing: ${packages}- run this, then repeat:  sudo $line"
  fi
  say "installing from the distribution: $packages"
  $root apt-get update -qq || say "the package lists could not be refreshed; trying with what is there"
  # shellcheck disable=SC2086  # a word per package
  DEBIAN_FRONTEND=noninteractive $root $line >/dev/null ||
    fail "the distribution could not install them. Run this and read what it says:  sudo $line"
  left=$(missing_packages | tr '\n' ' ')
  [ -z "$left" ] || fail "still missing after the installation: $left"
}

install_packages() {
  [ node_modules/.package-lock.json -nt package-lock.json ] && return 0
  [ -L node_modules ] && fail "node_modules is a link, and npm ci would empty the folder that it leads to: remove the link, then repeat."
  say "installing npm packages"
  npm ci --no-audit --no-fund --loglevel=error
}

build() {
  say "building the kernels"
  if [ "$goal" = demo ]; then npm run --silent build:kernels -- --native
  else npm run --silent build:kernels
  fi
  say "compiling the services"
  npm run --silent build:services
}

check_node
install_tools
[ "$goal" = tools ] && exit 0
install_packages
build
