#!/usr/bin/env bash
# Envoy's compressor leaves Content-Digest and Repr-Digest as the origin sent them. Both are of content as it is encoded (RFC 9530 sections
# 2 and 3, appendix A), so what the client gets fits neither. `Cache-Control: no-transform` keeps the content, and so the digests, as they were.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install
ports LISTEN ADMIN ORIGIN

cat >"$WORK/origin.py" <<'PYTHON'
import base64, hashlib, http.server, sys

CONTENT = b"".join(b"%05d\n" % number for number in range(1000))
DIGEST = "sha-256=:" + base64.b64encode(hashlib.sha256(CONTENT).digest()).decode() + ":"

class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-digest", DIGEST)
        self.send_header("repr-digest", DIGEST)
        if self.path == "/as-it-is":
            self.send_header("cache-control", "no-transform")
        self.send_header("content-length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

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
                      routes: [{ match: { prefix: / }, route: { cluster: origin } }]
                http_filters:
                  - name: envoy.filters.http.compressor
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
                      compressor_library:
                        name: gzip
                        typed_config: { "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip }
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

# digests PATH ACCEPT-ENCODING: the coding, and whether each digest fits the content of the message.
digests() {
    curl --silent --fail --output "$WORK/body" --dump-header "$WORK/head" --max-time 5 --retry 5 --retry-all-errors \
        --header "accept-encoding: $2" "http://127.0.0.1:$LISTEN$1"
    python3 - "$WORK/head" "$WORK/body" <<'PYTHON'
import base64, hashlib, sys

lines = open(sys.argv[1], encoding="latin-1").read().splitlines()
fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
content = open(sys.argv[2], "rb").read()
digest = "sha-256=:" + base64.b64encode(hashlib.sha256(content).digest()).decode() + ":"
fits = lambda name: "absent" if name not in fields else "fits" if fields[name] == digest else "does not fit"
print(fields.get("content-encoding", "identity"), "| content-digest", fits("content-digest"), "| repr-digest", fits("repr-digest"))
PYTHON
}

plain=$(digests / identity)
compressed=$(digests / gzip)
kept=$(digests /as-it-is gzip)
echo "asked for identity:              $plain"
echo "asked for gzip:                  $compressed"
echo "asked for gzip, no-transform:    $kept"
fitting="identity | content-digest fits | repr-digest fits"
[[ $plain == "$fitting" ]] || fail "without compression: $plain"
[[ $compressed == "gzip | content-digest does not fit | repr-digest does not fit" ]] || fail "compressed: $compressed"
[[ $kept == "$fitting" ]] || fail "no-transform: $kept"
echo "As described: the digests of a compressed response are those of the content before."
