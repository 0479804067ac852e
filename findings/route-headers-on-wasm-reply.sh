#!/usr/bin/env bash
# A route's header rules are applied to the reply that a Wasm filter sends itself before the filter's own fields are put in. So what
# OVERWRITE_IF_EXISTS_OR_ADD should replace stands twice, and what response_headers_to_remove should remove stays. The response of an
# upstream is treated right.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install wasmtime==31.0.0
ports LISTEN ADMIN ORIGIN

# A module that answers each request with 200 and the fields x-rule: filter and x-secret: filter (Proxy-Wasm ABI 0.2.1).
cat >"$WORK/module.wat" <<'WAT'
(module
  (import "env" "proxy_send_local_response"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 65536))
  ;; Two pairs: their number, the lengths of each name and value, then names and values, each ended by a zero.
  (data (i32.const 1024)
    "\02\00\00\00" "\06\00\00\00\06\00\00\00" "\08\00\00\00\06\00\00\00"
    "x-rule\00filter\00" "x-secret\00filter\00")
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (local.get $at))
  (func (export "_initialize"))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  ;; 200, no details, no content, 50 bytes of fields, no gRPC status; then the request goes no further.
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $send (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1024) (i32.const 50) (i32.const -1)))
    (i32.const 1)))
WAT
"$WORK/venv/bin/python" -c 'import sys, wasmtime
open(sys.argv[2], "wb").write(wasmtime.wat2wasm(open(sys.argv[1]).read()))' "$WORK/module.wat" "$WORK/module.wasm"

cat >"$WORK/origin.py" <<'PYTHON'
import http.server, sys

class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("x-rule", "upstream")
        self.send_header("x-secret", "upstream")
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
PYTHON
python3 "$WORK/origin.py" "$ORIGIN" &
PIDS+=($!)
reachable "$ORIGIN"

cat >"$WORK/envoy.yaml" <<YAML
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
                      response_headers_to_add:
                        - { header: { key: x-rule, value: route }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
                      response_headers_to_remove: [x-secret]
                      routes:
                        - match: { prefix: /upstream }
                          route: { cluster: origin }
                          typed_per_filter_config:
                            wasm:
                              "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                              disabled: true
                        - { match: { prefix: / }, route: { cluster: origin } }
                http_filters:
                  - name: wasm
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        vm_config:
                          runtime: envoy.wasm.runtime.v8
                          code: { local: { filename: $WORK/module.wasm } }
                  - name: envoy.filters.http.router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
    - name: origin
      type: STATIC
      load_assignment:
        cluster_name: origin
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: $ORIGIN } } } }] }]
YAML
start "$WORK/envoy.yaml"

# fields PATH: what arrives of the two, in one line.
fields() {
    curl --silent --include "http://127.0.0.1:$LISTEN$1" | tr -d '\r' |
        grep -E '^x-(rule|secret):' | sort | paste -sd' '
}

upstream=$(fields /upstream)
own=$(fields /)
echo "rules of the route: x-rule overwritten by \"route\", x-secret removed"
echo "response of the upstream:  $upstream"
echo "reply of the Wasm filter:  $own"
[[ $upstream == "x-rule: route" ]] || fail "the rules do not hold for an upstream's response"
[[ $own == "x-rule: filter x-rule: route x-secret: filter" ]] || fail "the reply of a Wasm filter is treated in another way"
echo "As described: the rules come before the filter's fields."
