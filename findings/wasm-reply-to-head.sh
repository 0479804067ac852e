#!/usr/bin/env bash
# A Wasm filter that answers HEAD itself, as it would answer GET but without the content, gives Content-Length and Content-Type; Envoy
# takes both off and announces chunks. What an upstream says to HEAD comes through. The filter can add them again in its response callback.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install wasmtime==31.0.0
ports LISTEN ADMIN ORIGIN

# module NAME CALLBACKS: a module that answers each request with 200 and three fields, without content (Proxy-Wasm ABI 0.2.1).
module() {
    cat >"$WORK/$1.wat" <<WAT
(module
  (import "env" "proxy_send_local_response"
    (func \$send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func \$add (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global \$next (mut i32) (i32.const 65536))
  ;; Three pairs: their number, the lengths of each name and value, then names and values, each ended by a zero.
  (data (i32.const 1024)
    "\\03\\00\\00\\00" "\\0e\\00\\00\\00\\04\\00\\00\\00" "\\0c\\00\\00\\00\\10\\00\\00\\00" "\\04\\00\\00\\00\\05\\00\\00\\00"
    "content-length\\001234\\00" "content-type\\00application/json\\00" "etag\\00\\22one\\22\\00")
  (func (export "malloc") (param \$size i32) (result i32)
    (local \$at i32)
    (local.set \$at (global.get \$next))
    (global.set \$next (i32.add (global.get \$next) (i32.and (i32.add (local.get \$size) (i32.const 7)) (i32.const -8))))
    (local.get \$at))
  (func (export "_initialize"))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call \$send (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1024) (i32.const 89) (i32.const -1)))
    (i32.const 1))
  $2)
WAT
    "$PYTHON" -c 'import sys, wasmtime
open(sys.argv[2], "wb").write(wasmtime.wat2wasm(open(sys.argv[1]).read()))' "$WORK/$1.wat" "$WORK/$1.wasm"
}
module plain ''
# The first two pairs once more, added to the response's fields (map 2).
module again '(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (drop (call $add (i32.const 2) (i32.const 1052) (i32.const 14) (i32.const 1067) (i32.const 4)))
    (drop (call $add (i32.const 2) (i32.const 1072) (i32.const 12) (i32.const 1085) (i32.const 16)))
    (i32.const 0))'

cat >"$WORK/origin.py" <<'PYTHON'
import http.server, sys

class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("content-length", "1234")
        self.send_header("content-type", "application/json")
        self.send_header("etag", '"one"')
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
PYTHON
python3 "$WORK/origin.py" "$ORIGIN" &
PIDS+=($!)
reachable "$ORIGIN"

# filter NAME: one of the modules, used by the route of that name.
filter() {
    cat <<YAML
                  - name: $1
                    disabled: true
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        vm_config:
                          vm_id: $1
                          runtime: envoy.wasm.runtime.v8
                          code: { local: { filename: $WORK/$1.wasm } }
YAML
}
# route NAME
route() {
    cat <<YAML
                        - match: { prefix: /$1 }
                          route: { cluster: origin }
                          typed_per_filter_config:
                            $1: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {} }
YAML
}
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
                      routes:
$(route plain)
$(route again)
                        - { match: { prefix: / }, route: { cluster: origin } }
                http_filters:
$(filter plain)
$(filter again)
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

# fields PATH: what arrives of the three, and how the content would be framed, in one line.
fields() {
    curl --silent --head "http://127.0.0.1:$LISTEN$1" | tr -d '\r' |
        grep -E '^(content-length|content-type|etag|transfer-encoding):' | sort | paste -sd' '
}
ALL='content-length: 1234 content-type: application/json etag: "one"'
upstream=$(fields /)
plain=$(fields /plain)
again=$(fields /again)
echo "HEAD, given: $ALL"
echo "by an upstream:                        $upstream"
echo "by a Wasm filter:                      $plain"
echo "and again in its response callback:    $again"
[[ $upstream == "$ALL" ]] || fail "an upstream's fields do not come through"
[[ $plain == 'etag: "one" transfer-encoding: chunked' ]] || fail "a Wasm filter's fields come through"
[[ $again == "$ALL" ]] || fail "the response callback does not put them back"
echo "As described: a filter's answer to HEAD loses what it says of the content."
