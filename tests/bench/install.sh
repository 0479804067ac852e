#!/bin/sh
# Finds or installs the load generators and the servers to compare with. wrk, taskset and setpriv are needed; nginx, Varnish and h2load are
# skipped by name where they are missing.
set -eu
cd "$(dirname "$0")"
. ../packages.sh

for tool in taskset setpriv; do
    has "$tool" || fail "$tool is missing: install util-linux."
done
needed wrk wrk
optional nginx nginx-light "nginx proxy_cache"
optional varnishd varnish "Varnish"
optional h2load nghttp2-client "HTTP/2"
