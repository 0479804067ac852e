#!/usr/bin/env bash
# start-envoy and drain as the image runs them: good and bad environments, and no Envoy to drain. With ENVOY_BIN and WASM, that Envoy
# also judges the configuration.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "image_scripts.sh: $*" >&2
    exit 1
}

# In place of Envoy: leaves its arguments, one a line.
mkdir "$scratch/bin"
printf '#!/bin/bash\nprintf "%%s\\n" "$@" >"%s/arguments"\n' "$scratch" >"$scratch/bin/envoy"
chmod +x "$scratch/bin/envoy"

# start [NAME=VALUE ...]: start-envoy in the environment that the manifests give it, and these changes.
start() {
    env -i PATH="$scratch/bin:$PATH" RUN_DIR="$scratch" ENVOY_TEMPLATE=../envoy/static.yaml OBSERVE_TEMPLATE=docker/observe.yaml \
        NODE_ID=api-optimizer-5d9-abcde LISTEN_HOST=0.0.0.0 LISTEN_PORT=10000 ADMIN_PORT=9901 OBSERVE_PORT=9902 CONCURRENCY=2 \
        MAX_HEAP_BYTES=1610612736 ACCESS_LOG=/dev/stdout SETTINGS='{"default_ttl": "5m"}' CONTROL_HOST=api-optimizer-new \
        GRPC_PORT=18000 ORIGIN_HOST=upstream-service ORIGIN_PORT=80 "$@" docker/start-envoy
}

refused() {
    local why=$1 status=0
    shift
    start "$@" 2>"$scratch/why" || status=$?
    [[ $status == 2 && $(<"$scratch/why") == *"$why"* ]] || fail "$* gave exit $status and: $(<"$scratch/why")"
}

start
grep -q 'id: "api-optimizer-5d9-abcde"' "$scratch/envoy.yaml" || fail "NODE_ID is not in the configuration"
grep -q '"settings": {"default_ttl": "5m"}' "$scratch/envoy.yaml" || fail "SETTINGS are not in the configuration"
grep -q 'port_value: 9902' "$scratch/arguments" || fail "the listener for probes is not in the arguments"
# A "# >>> name" comment may hold a $; a value of the configuration that was not filled in may not be left.
if grep -nE '^[^#]*\$\{' "$scratch/envoy.yaml" "$scratch/arguments"; then fail "placeholders are left over"; fi
if grep -qE 'otel_collector|opentelemetry' "$scratch/envoy.yaml"; then fail "without a collector there are still traces"; fi
start OTEL_HOST=collector.monitoring.svc OTEL_PERCENT=0.5
grep -q 'address: "collector.monitoring.svc", port_value: 4317' "$scratch/envoy.yaml" || fail "the collector is not in the configuration"
grep -q 'random_sampling: { value: 0.5 }' "$scratch/envoy.yaml" || fail "OTEL_PERCENT is not in the configuration"
if grep -nE '^[^#]*\$\{' "$scratch/envoy.yaml"; then fail "placeholders are left over with a collector"; fi
refused "OTEL_HOST holds" 'OTEL_HOST=a" }'
start CONTROL_CLUSTER=
if grep -q stats_sinks "$scratch/envoy.yaml"; then fail "without a control plane there is still a sink for its statistics"; fi
start ENVOY_TEMPLATE=../envoy/native.yaml
grep -q 'filename: "/usr/local/lib/api-optimizer/libapi_optimizer_filter_native.so"' "$scratch/envoy.yaml" || fail "the dynamic module is not in the configuration"
if grep -nE '^[^#]*\$\{' "$scratch/envoy.yaml"; then fail "placeholders are left over in native.yaml"; fi
refused "ORIGIN_HOST is not set" ORIGIN_HOST=
refused "NODE_ID holds" 'NODE_ID=a", "settings": {}'
refused "SETTINGS holds" $'SETTINGS={\n}'

# Nobody listens there: the pod must still end, after its time.
ADMIN_PORT=1 docker/drain 0 2>/dev/null || fail "drain failed without an Envoy"

if [[ -n ${ENVOY_BIN:-} && -n ${WASM:-} ]]; then
    [[ -f $WASM ]] || fail "there is no $WASM"
    ln -sf "$(realpath "$ENVOY_BIN")" "$scratch/bin/envoy"
    # Reads the configuration as a start would, and ends.
    sed 's/--disable-hot-restart/--mode validate &/' docker/start-envoy >"$scratch/validate"
    chmod +x "$scratch/validate"
    env -i PATH="$scratch/bin:$PATH" RUN_DIR="$scratch" ENVOY_TEMPLATE=../envoy/static.yaml OBSERVE_TEMPLATE=docker/observe.yaml \
        NODE_ID=a LISTEN_HOST=127.0.0.1 LISTEN_PORT=10000 ADMIN_PORT=9901 OBSERVE_PORT=9902 MAX_HEAP_BYTES=1610612736 \
        ACCESS_LOG=/dev/null SETTINGS={} CONTROL_HOST=127.0.0.1 GRPC_PORT=18000 ORIGIN_HOST=127.0.0.1 ORIGIN_PORT=80 \
        OTEL_HOST=localhost WASM="$(realpath "$WASM")" "$scratch/validate" >"$scratch/log" 2>&1 || fail "Envoy refuses it: $(tail -n 3 "$scratch/log")"
fi
