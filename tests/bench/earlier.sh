#!/bin/sh
# Builds the filter of an earlier revision: earlier.sh REVISION FOLDER leaves FOLDER/filter.wasm.
set -eu
revision=$(git rev-parse --verify "$1^{commit}")
folder=$2
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ "$(cat "$folder/revision" 2>/dev/null)" = "$revision" ]; then
    exit 0
fi
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
git archive "$revision" | tar -x -C "$source"
(
    cd "$source"
    export CARGO_TARGET_DIR="$folder/target"
    cargo build --locked -p api-optimizer-filter --target wasm32-wasip1 --profile wasm
    # Revisions from before there was something to trim are measured as they were shipped.
    if [ -d filter/trim ]; then
        cargo run --locked --quiet -p filter-trim -- "$CARGO_TARGET_DIR/wasm32-wasip1/wasm/api_optimizer_filter.wasm"
    fi
)
cp "$folder/target/wasm32-wasip1/wasm/api_optimizer_filter.wasm" "$folder/filter.wasm"
echo "$revision" >"$folder/revision"
