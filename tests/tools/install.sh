#!/bin/sh
# Installs what the tests take from PyPI into tests/tools/.venv, at versions and checksums of tools.txt. Quick and silent when it is there.
set -eu
cd "$(dirname "$0")"

fail() {
    echo "error: $*" >&2
    exit 1
}

[ -e .venv/installed ] && cmp -s tools.txt .venv/installed && exit 0
command -v python3 >/dev/null 2>&1 || fail "python3 is missing."
rm -rf .venv
python3 -m venv .venv >/dev/null 2>&1 || fail "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)."
echo '*' >.venv/.gitignore
echo "Installing the tools of the tests ..." >&2
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r tools.txt >&2 ||
    fail "pip could not install tests/tools/tools.txt: see its message above."
cp tools.txt .venv/installed
