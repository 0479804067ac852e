#!/usr/bin/env bash
# A Wasm metric whose name begins with a digit is defined and counted, stands in Envoy's /stats and is left out of /stats/prometheus,
# without an error to the filter or a line in the log: custom metrics have no envoy_ before their names, and Prometheus takes no digit
# there. With that, names that differ in a dot and an underscore come out as two series of one name.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install wasmtime==31.0.0
ports LISTEN ADMIN

# A module that counts each request in four counters (Proxy-Wasm ABI 0.2.1); it fails to load if one of them is refused.
cat >"$WORK/module.wat" <<'WAT'
(module
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 65536))
  (data (i32.const 1024) "2xx_total" "all_2xx_total" "cache_hits" "cache.hits")
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (local.get $at))
  (func (export "_initialize"))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  ;; The four names lie one after the other; their numbers go to 2048 and after.
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (i32.eqz (i32.or
      (i32.or
        (call $define (i32.const 0) (i32.const 1024) (i32.const 9) (i32.const 2048))
        (call $define (i32.const 0) (i32.const 1033) (i32.const 13) (i32.const 2052)))
      (i32.or
        (call $define (i32.const 0) (i32.const 1046) (i32.const 10) (i32.const 2056))
        (call $define (i32.const 0) (i32.const 1056) (i32.const 10) (i32.const 2060))))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $increment (i32.load (i32.const 2048)) (i64.const 1)))
    (drop (call $increment (i32.load (i32.const 2052)) (i64.const 1)))
    (drop (call $increment (i32.load (i32.const 2056)) (i64.const 1)))
    (drop (call $increment (i32.load (i32.const 2060)) (i64.const 10)))
    (i32.const 0)))
WAT
"$PYTHON" -c 'import sys, wasmtime
open(sys.argv[2], "wb").write(wasmtime.wat2wasm(open(sys.argv[1]).read()))' "$WORK/module.wat" "$WORK/module.wasm"

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
                      routes: [{ match: { prefix: / }, direct_response: { status: 200 } }]
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
YAML
start "$WORK/envoy.yaml"
for request in 1 2; do
    curl --silent --fail "http://127.0.0.1:$LISTEN/" || fail "request $request is not answered"
done
wait_stat wasmcustom.2xx_total 2

own=$(curl --silent "http://127.0.0.1:$ADMIN/stats?filter=^wasmcustom" | sort)
prometheus=$(curl --silent "http://127.0.0.1:$ADMIN/stats/prometheus" | grep -E '^[^#]*(2xx_total|cache.hits)' |
    grep -v '^envoy_wasm_remote_load_' | sort)
echo "/stats after two requests:"
echo "$own"
echo "/stats/prometheus:"
echo "$prometheus"
[[ $own == "wasmcustom.2xx_total: 2
wasmcustom.all_2xx_total: 2
wasmcustom.cache.hits: 20
wasmcustom.cache_hits: 2" ]] || fail "the counters stand otherwise in /stats"
[[ $prometheus == "all_2xx_total{} 2
cache_hits{} 2
cache_hits{} 20" ]] || fail "the counters stand otherwise in /stats/prometheus"
grep -i '2xx' "$WORK/envoy.log" && fail "Envoy tells of it"
echo "As described: 2xx_total is counted and never scraped."
