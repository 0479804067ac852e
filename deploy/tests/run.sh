#!/usr/bin/env bash
# Runs every test of the scripts, or those named, a few at a time: run.sh [test_NAME.sh …]
#
# Needs bash, curl, jq, bc, python3, and Debian's kubernetes-client, whose kubectl reads and writes YAML behind the one in this
# folder. shellcheck is used where it is installed. JOBS: tests at a time (the number of cores).
# Exit: 0 all passed; 1 some failed

set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")"
(($#)) || set -- test_*.sh
out=$(mktemp -d)
trap 'rm -rf -- "$out"' EXIT

# one FOLDER TEST: its output in one piece, its failure as a file.
one() {
  bash "./$2" >"$1/$2.out" 2>&1 || touch "$1/$2.failed"
  cat "$1/$2.out"
}
export -f one

printf '%s\n' "${@##*/}" | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'one "$@"' _ "$out" {}
failed=()
for test in "${@##*/}"; do
  [[ ! -e $out/$test.failed ]] || failed+=("$test")
done
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
echo "all tests of the scripts passed"
