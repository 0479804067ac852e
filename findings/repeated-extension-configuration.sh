#!/usr/bin/env bash
# An extension configuration that Envoy has refused, sent again byte for byte when the reason is gone, counts as accepted and is not
# applied. The same with one byte more is applied. Here the reason is a Lua file that is not there yet.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install
ports LISTEN ADMIN

cat >"$WORK/envoy.yaml" <<YAML
node: { id: finding, cluster: finding }
admin: { address: { socket_address: { address: 127.0.0.1, port_value: $ADMIN } } }
static_resources:
  listeners:
    - address: { socket_address: { address: 127.0.0.1, port_value: $LISTEN } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: finding
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{ match: { prefix: / }, direct_response: { status: 200 } }]
                http_filters:
                  - name: script
                    config_discovery:
                      config_source: { path_config_source: { path: $WORK/extension.yaml }, resource_api_version: V3 }
                      type_urls: [type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua]
                  - name: envoy.filters.http.router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
YAML

# script NAME: the Lua filter that answers with x-script: NAME.
script() {
    echo "function envoy_on_response(handle) handle:headers():add(\"x-script\", \"$1\") end" >"$WORK/$1.lua"
}

# send FILE [STAT_PREFIX]: the extension configuration that runs that file.
send() {
    cat >"$WORK/new.yaml" <<YAML
resources:
  - "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: script
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
      default_source_code: { filename: $WORK/$1.lua }
      stat_prefix: "${2:-}"
YAML
    mv "$WORK/new.yaml" "$WORK/extension.yaml"
}

runs() {
    curl --silent --include "http://127.0.0.1:$LISTEN/" | tr -d '\r' | awk '$1 == "x-script:" { print $2 }'
}

COUNTERS=extension_config_discovery.http_filter.script
script first
send first
start "$WORK/envoy.yaml"
[[ $(runs) == first ]] || fail "the first configuration is not applied: $(runs)"

send second
wait_stat $COUNTERS.config_fail 1
echo "second configuration, its file is missing: refused, runs: $(runs)"

script second
reloads=$(stat $COUNTERS.config_reload)
accepted=$(stat $COUNTERS.update_success)
send second
wait_stat $COUNTERS.update_success $((accepted + 1))
echo "the same bytes again, its file is there: accepted, runs: $(runs)"
[[ $(runs) == first && $(stat $COUNTERS.config_reload) == "$reloads" ]] || fail "what is sent again is applied now"

send second other
wait_stat $COUNTERS.config_reload $((reloads + 1))
echo "one field changed: accepted, runs: $(runs)"
[[ $(runs) == second ]] || fail "a changed configuration is not applied: $(runs)"
echo "As described: a repetition is acknowledged and not applied."
