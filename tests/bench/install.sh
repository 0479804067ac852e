#!/bin/sh
# Finds or installs the load generator.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v taskset >/dev/null 2>&1 || fail "taskset is missing: install util-linux."
if command -v wrk >/dev/null 2>&1; then
    exit 0
fi
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || fail "wrk is missing: install it (Debian: apt-get install wrk)."
echo "Installing wrk ..." >&2
{ apt-get update -qq && apt-get install -y -qq wrk; } >/dev/null || fail "apt-get could not install wrk: see its message above."
