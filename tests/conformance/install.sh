#!/bin/sh
# Installs the suite at its pinned version. Quick and silent when it is there.
set -eu
cd "$(dirname "$0")"

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 ||
    fail "node and npm are missing: install Node.js 18.19 or newer (Debian: apt-get install nodejs npm) for the conformance run."
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    # The suite is plain JavaScript: nothing needs building.
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || fail "npm ci failed: see its message above."
    touch node_modules/.package-lock.json
fi
