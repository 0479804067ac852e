#!/bin/sh
# Finds or installs the programs that the tests start beside Envoy, from Debian's packages and PyPI. Quick and silent when everything is there.
set -eu
cd "$(dirname "$0")"
. ./packages.sh

needed redis-server redis-server
needed promtool prometheus
needed amtool prometheus-alertmanager
# The caches that the sharing gate compares with: in CI it does not go without them.
if [ -n "${CI:-}" ]; then
    needed nginx nginx-light
    needed varnishd varnish
else
    optional nginx nginx-light "the sharing gate's comparison with nginx"
    optional varnishd varnish "the sharing gate's comparison with Varnish"
fi
optional chromium chromium "the board's story"
# deploy/checks/live.py asks a real Prometheus.
needed python3 python3
python3 -c 'import yaml' 2>/dev/null || { can_install && install python3-yaml; } || fail "python3 has no yaml (Debian: python3-yaml)."
# For the tests of deploy/: the operators' tools.
needed curl curl
needed openssl openssl
needed jq jq
needed bc bc
needed shellcheck shellcheck
needed envsubst gettext-base
needed kubectl kubernetes-client
# From PyPI, for the tests of the REST API and `make deny`.
python3 -c 'import venv, ensurepip' 2>/dev/null || { can_install && install python3-venv; } || fail "python3 has no venv (Debian: python3-venv)."
tools/install.sh
