#!/bin/sh
# Finds or installs the load generators and the servers to compare with. wrk, taskset and setpriv are needed; nginx, Varnish and h2load are
# skipped by name where they are missing.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

has() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}

POLICY=/usr/sbin/policy-rc.d

# Debian starts a service when it is installed. These are only to be there: the benchmark starts its own on free ports.
services_stay_off() {
    [ -e "$POLICY" ] && return
    trap 'rm -f "$POLICY"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod +x "$POLICY"
}

can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

install() {
    [ -n "${updated:-}" ] || apt-get update -qq >/dev/null || return 1
    updated=1
    echo "Installing $1 ..." >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

optional() {
    has "$1" && return
    if can_install && install "$2"; then
        return
    fi
    echo "$3 is skipped: $1 is missing (Debian: apt-get install $2)." >&2
}

for needed in taskset setpriv; do
    has "$needed" || fail "$needed is missing: install util-linux."
done
can_install && services_stay_off
if ! has wrk; then
    can_install || fail "wrk is missing: install it (Debian: apt-get install wrk)."
    install wrk || fail "apt-get could not install wrk: see its message above."
fi
optional nginx nginx-light "nginx proxy_cache"
optional varnishd varnish "Varnish"
optional h2load nghttp2-client "HTTP/2"
