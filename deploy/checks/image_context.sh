#!/usr/bin/env bash
# What the Dockerfiles copy before they build is enough for cargo: every member of the workspace with every target that its manifest
# names, and a lock file in step. Also that what they copy and install exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for file in deploy/docker/Dockerfile.{control-plane,envoy,wasm}; do
    context=$(mktemp -d)
    trap 'rm -rf -- "$context"' EXIT
    while read -r _ words; do
        [[ $words != --* ]] || continue
        read -ra paths <<<"$words"
        target=$context/${paths[-1]}
        unset 'paths[-1]'
        [[ $target == */. || $target == */./ || ${#paths[@]} -gt 1 ]] && mkdir -p "$target"
        mkdir -p "$(dirname "$target")"
        # What cargo writes is no part of it.
        for path in "${paths[@]}"; do
            if [[ -d $path ]]; then
                mkdir -p "$target"
                git ls-files -z "$path" | xargs -0 cp --parents -t "$context"
            else
                cp "$path" "$target"
            fi
        done
    done < <(sed '/^FROM scratch\|^FROM ${RUNTIME/,$d' "$file" | grep '^COPY ')
    (cd "$context" && cargo metadata --locked --format-version 1 >/dev/null) || {
        echo "$file: what it copies is no workspace that cargo can build" >&2
        exit 1
    }
    rm -rf -- "$context"
done
