#!/usr/bin/env bash
# `failure_policy: FAIL_OPEN` takes the place of the deprecated `fail_open: true` of a Wasm filter, and does less: the request in which the
# module traps is answered 503, and only later ones pass. With `fail_open: true` that request passes too.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install wasmtime==31.0.0
ports OPEN DEPRECATED CLOSED ADMIN

# A module that traps in each request (Proxy-Wasm ABI 0.2.1).
cat >"$WORK/trap.wat" <<'WAT'
(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 65536))
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
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))
WAT
"$PYTHON" -c 'import sys, wasmtime
open(sys.argv[2], "wb").write(wasmtime.wat2wasm(open(sys.argv[1]).read()))' "$WORK/trap.wat" "$WORK/trap.wasm"

# listener NAME PORT POLICY
listener() {
    cat <<YAML
    - name: $1
      address: { socket_address: { address: 127.0.0.1, port_value: $2 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: $1
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{ match: { prefix: / }, direct_response: { status: 200, body: { inline_string: passed } } }]
                http_filters:
                  - name: wasm
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        $3
                        vm_config:
                          vm_id: $1
                          runtime: envoy.wasm.runtime.v8
                          code: { local: { filename: $WORK/trap.wasm } }
                  - name: router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
YAML
}
{
    echo "admin: { address: { socket_address: { address: 127.0.0.1, port_value: $ADMIN } } }"
    echo "static_resources:"
    echo "  listeners:"
    listener open "$OPEN" "failure_policy: FAIL_OPEN"
    listener deprecated "$DEPRECATED" "fail_open: true"
    listener closed "$CLOSED" "failure_policy: FAIL_CLOSED"
} >"$WORK/envoy.yaml"
start "$WORK/envoy.yaml"

# Status of three requests, one after the other.
statuses() {
    local try
    for try in 1 2 3; do curl --silent --output /dev/null --write-out '%{http_code} ' "http://127.0.0.1:$1/"; done
}
open=$(statuses "$OPEN")
deprecated=$(statuses "$DEPRECATED")
closed=$(statuses "$CLOSED")
echo "failure_policy: FAIL_OPEN    $open"
echo "fail_open: true              $deprecated"
echo "failure_policy: FAIL_CLOSED  $closed"
[[ $open == "503 200 200 " ]] || fail "FAIL_OPEN gives $open"
[[ $deprecated == "200 200 200 " ]] || fail "fail_open: true gives $deprecated"
[[ $closed == "503 503 503 " ]] || fail "FAIL_CLOSED gives $closed"
