#!/bin/sh
# What `make run` does: looks whether the ports are free, finds or installs Envoy, builds, and starts the demo. Whatever is in the way is
# told in one sentence at the end.
#
# The profile `demo` is built without optimisation, in a third of the time of what is shipped (`make dist`); only the filter, which Envoy
# compiles once more, is optimised a little: as it comes out else it is three times as large.
set -eu
cd "$(dirname "$0")/../.."
CARGO=${CARGO:-cargo}
TARGET_DIR=${CARGO_TARGET_DIR:-target}
MODULE=$TARGET_DIR/wasm32-wasip1/demo/api_optimizer_filter.wasm

fail() {
    echo "error: $*" >&2
    exit 1
}

# It is told again by run-demo itself; here before the build.
port_is_free() {
    command -v python3 >/dev/null 2>&1 || return 0
    python3 - "$2" <<'PYTHON' || fail "Port $2 is in use: stop what listens there, or set $1 to another port."
import socket, sys
with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", int(sys.argv[1])))
        listener.listen()
    except OSError:
        sys.exit(1)
    except (ValueError, OverflowError):
        # No port at all: run-demo says it better.
        pass
PYTHON
}

# build WHAT ARGUMENTS: cargo, whose progress is shown as it comes.
build() {
    log=$(mktemp)
    # The status of cargo, not of tee.
    { "$CARGO" "$@" 2>&1 && echo built >"$log.done"; } | tee "$log" >&2
    if [ -e "$log.done" ]; then
        rm -f "$log" "$log.done"
        return
    fi
    if grep -qiE 'could not resolve host|failed to download|spurious network error|network failure|unable to update registry|could not connect' "$log"; then
        rm -f "$log"
        fail "the crates could not be downloaded: is there a network, or a proxy that cargo does not know (HTTPS_PROXY)?"
    fi
    rm -f "$log"
    fail "the build failed: see cargo's message above."
}

port_is_free LISTEN_PORT "${LISTEN_PORT:-10000}"
port_is_free ADMIN_PORT "${ADMIN_PORT:-9901}"
port_is_free REST_PORT "${REST_PORT:-8080}"
port_is_free GRPC_PORT "${GRPC_PORT:-18000}"
envoy/install.sh
[ -x "$TARGET_DIR/demo/run-demo" ] ||
    echo "Building the filter, the control plane and a demo API: about three minutes on two cores, once." >&2
if [ "${FILTER:-wasm}" = native ]; then
    CARGO_PROFILE_DEMO_OPT_LEVEL=1 build build --locked -p api-optimizer-filter-native --profile demo
else
    CARGO_PROFILE_DEMO_OPT_LEVEL=1 build build --locked -p api-optimizer-filter --target wasm32-wasip1 --profile demo
fi
build build --locked --profile demo -p filter-trim -p harness -p api-optimizer-control-plane --no-default-features --bins
[ "${FILTER:-wasm}" = native ] || "$TARGET_DIR/demo/filter-trim" "$MODULE"
exec "$TARGET_DIR/demo/run-demo" "$@"
