#!/usr/bin/env bash
# Envoy's own cache filter does not invalidate: after a PUT, POST or DELETE that the origin answered with 200, a GET of the same URL is still
# answered with what was stored before. RFC 9111 section 4.4 demands that a cache invalidates the target URI then.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install
ports LISTEN ADMIN ORIGIN

cat >"$WORK/origin.py" <<'PYTHON'
import http.server, sys

state = {}

class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        content = f"version {state.get(self.path, 1)}".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("cache-control", "max-age=60" if self.command == "GET" else "no-store")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer()

    def change(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        state[self.path] = 2
        self.answer()

    do_PUT = do_POST = do_DELETE = change

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
                stat_prefix: http
                route_config:
                  virtual_hosts:
                    - { name: all, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: origin } }] }
                http_filters:
                  - name: cache
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.cache.v3.CacheConfig
                      typed_config:
                        "@type": type.googleapis.com/envoy.extensions.http.cache.simple_http_cache.v3.SimpleHttpCacheConfig
                  - name: router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
    - name: origin
      load_assignment:
        cluster_name: origin
        endpoints:
          - lb_endpoints:
              - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: $ORIGIN } } }
YAML
start "$WORK/envoy.yaml"
reachable "$LISTEN"

get() { curl --silent --fail "http://127.0.0.1:$LISTEN/$1"; }
for method in PUT POST DELETE; do
    before=$(get $method)
    [[ $before == "version 1" ]] || fail "the first GET gives: $before"
    changed=$(curl --silent --fail --request $method --data new "http://127.0.0.1:$LISTEN/$method")
    [[ $changed == "version 2" ]] || fail "$method is not answered by the origin"
    after=$(get $method)
    echo "after $method answered with 200 ($changed), GET gives: $after"
    [[ $after == "version 1" ]] || fail "the cache has invalidated what $method changed"
done
