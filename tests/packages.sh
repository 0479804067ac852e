# shellcheck shell=sh
# Sourced by the installers: Debian packages, without the services that some of them start.

fail() {
    echo "error: $*" >&2
    exit 1
}

has() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}

POLICY=/usr/sbin/policy-rc.d

# Debian starts a service when it is installed. These are only to be there: tests and benchmarks start their own on free ports.
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
    services_stay_off
    [ -n "${updated:-}" ] || apt-get update -qq >/dev/null || return 1
    updated=1
    echo "Installing $1 ..." >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# needed COMMAND PACKAGE
needed() {
    has "$1" && return
    can_install || fail "$1 is missing: install it (Debian: apt-get install $2)."
    install "$2" || fail "apt-get could not install $2: see its message above."
}

# optional COMMAND PACKAGE WHAT: WHAT is skipped without it.
optional() {
    has "$1" && return
    if can_install && install "$2"; then
        return
    fi
    echo "$3 is skipped: $1 is missing (Debian: apt-get install $2)." >&2
}
