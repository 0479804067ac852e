#!/usr/bin/env bash
# Envoy's compressor compresses a 206 and leaves its Content-Range, whose positions are those of the uncompressed content (RFC 9110
# section 15.3.7). With uncompressible_response_codes it does not.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install
ports LISTEN ADMIN ORIGIN

cat >"$WORK/origin.py" <<'PYTHON'
import http.server, re, sys

CONTENT = "".join(f"{number:05}\n" for number in range(4000)).encode()

class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["range"]).groups())
        part = CONTENT[first : last + 1]
        self.send_response(206)
        self.send_header("content-type", "text/plain")
        self.send_header("content-range", f"bytes {first}-{last}/{len(CONTENT)}")
        self.send_header("content-length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
PYTHON
python3 "$WORK/origin.py" "$ORIGIN" &
PIDS+=($!)
reachable "$ORIGIN"

# configuration FIELDS: more of response_direction_config.
configuration() {
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
                      routes: [{ match: { prefix: / }, route: { cluster: origin } }]
                http_filters:
                  - name: envoy.filters.http.compressor
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
                      compressor_library:
                        name: gzip
                        typed_config: { "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip }
                      response_direction_config: { weaken_etag_on_compress: true $1 }
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
}

ask() {
    local try
    for ((try = 0; try < 50; try++)); do
        curl --silent --fail --output "$WORK/body" --dump-header "$WORK/head" --max-time 5 \
            --header 'accept-encoding: gzip' --range 6000-11999 "http://127.0.0.1:$LISTEN/" && break
        sleep 0.2
    done
    tr -d '\r' <"$WORK/head" | tr 'A-Z' 'a-z'
}

configuration ""
head=$(ask)
echo "bytes 6000-11999 of 24000, Accept-Encoding: gzip"
grep -E '^(http|content-)' <<<"$head"
echo "content: $(wc -c <"$WORK/body") bytes"
grep -q '^http/1.1 206' <<<"$head" && grep -qx 'content-range: bytes 6000-11999/24000' <<<"$head" || fail "no such 206: $head"
grep -qx 'content-encoding: gzip' <<<"$head" || fail "a 206 is not compressed any more: $head"

kill "${PIDS[-1]}"
wait "${PIDS[-1]}" 2>/dev/null || true
configuration ", uncompressible_response_codes: [206]"
head=$(ask)
if grep -q '^content-encoding' <<<"$head" || [[ $(wc -c <"$WORK/body") != 6000 ]]; then
    fail "uncompressible_response_codes does not help: $head"
fi
echo "with uncompressible_response_codes: [206]: 6000 bytes, not encoded"
echo "As described: the compressor compresses a part of the content, whose positions are those of the whole."
