#!/usr/bin/env bash
# requests-cache 1.3.3: a response whose max-age is longer than Python counts time cannot be received at all: the request ends with an
# OverflowError, though the response is whole. A recipient takes what is too large for it for 2^31 seconds or for the largest number that
# it can hold (RFC 9111 section 1.2.2), as CacheControl 0.14.4 and http-cache-semantics 4.3.0 do.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
python_packages requests==2.34.2 requests-cache==1.3.3 CacheControl==0.14.4
node_packages http-cache-semantics@4.3.0
ports ORIGIN

cat >"$WORK/origin.py" <<'PYTHON'
import http.server, sys

class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("cache-control", "max-age=" + self.path.rpartition("/")[2])
        self.send_header("content-length", "7")
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
PYTHON
python3 "$WORK/origin.py" "$ORIGIN" &
PIDS+=($!)
reachable "$ORIGIN"

cat >"$WORK/clients.py" <<'PYTHON'
import sys
import cachecontrol, requests, requests_cache

clients = {
    "requests": requests.Session(),
    "CacheControl": cachecontrol.CacheControl(requests.Session()),
    "requests-cache": requests_cache.CachedSession(backend="memory", cache_control=True),
}
for name, client in clients.items():
    for seconds in ("31536000", "99999999999999"):
        try:
            got = client.get(f"{sys.argv[1]}/{name}/{seconds}").text
        except Exception as error:
            got = type(error).__name__
        print(f"{name}, max-age={seconds}: {got}")
PYTHON

cat >"$WORK/policy.mjs" <<'JS'
import CachePolicy from "http-cache-semantics";

const response = { status: 200, headers: { date: new Date().toUTCString(), "cache-control": "max-age=99999999999999" } };
const policy = new CachePolicy({ url: "/", method: "GET", headers: {} }, response);
console.log(`http-cache-semantics, max-age=99999999999999: ${policy.stale() ? "stale" : "fresh"}`);
JS

seen=$("$PYTHON" "$WORK/clients.py" "http://127.0.0.1:$ORIGIN"; node "$WORK/policy.mjs")
echo "$seen"
[[ $seen == "requests, max-age=31536000: content
requests, max-age=99999999999999: content
CacheControl, max-age=31536000: content
CacheControl, max-age=99999999999999: content
requests-cache, max-age=31536000: content
requests-cache, max-age=99999999999999: OverflowError
http-cache-semantics, max-age=99999999999999: fresh" ]] || fail "they do otherwise"
echo "As described: a long lifetime, and no response."
