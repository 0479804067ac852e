#!/usr/bin/env bash
# Runs every test of the scripts, or those named: run.sh [test_NAME.sh …]
#
# Needs bash, curl, jq, python3, and Debian's kubernetes-client, whose kubectl reads and writes YAML behind the one in this
# folder. shellcheck is used where it is installed.
# Exit: 0 all passed; 1 some failed

set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")"
(($#)) || set -- test_*.sh
failed=()
for test in "$@"; do
  bash "./${test##*/}" || failed+=("$test")
done
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
echo "all tests of the scripts passed"
