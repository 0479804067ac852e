#!/usr/bin/env bash
# A response that comes from a shared cache has an Age, and its Date is that of the origin (RFC 9111 section 4.2.3). make-fetch-happen
# 15.0.6 and requests-cache 1.3.3 count its lifetime from the arrival and use it for twice the max-age. make-fetch-happen decides by
# http-cache-semantics, which does count the Age, but stores the response without it; cacheable-request decides by the same and is right.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
python_packages requests==2.34.2 requests-cache==1.3.3 CacheControl==0.14.4
node_packages make-fetch-happen@15.0.6 cacheable-request@13.0.19 http-cache-semantics@4.3.0 undici@7.30.2
ports SHARED

# What a shared cache sends one second before it must ask the origin again. The content is the number of the request for that path.
cat >"$WORK/shared.py" <<'PYTHON'
import collections, email.utils, http.server, sys, time

seen = collections.Counter()

class Shared(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        seen[self.path] += 1
        content = str(seen[self.path]).encode()
        self.send_response_only(200)
        self.send_header("date", email.utils.formatdate(time.time() - 3599, usegmt=True))
        self.send_header("age", "3599")
        self.send_header("cache-control", "max-age=3600")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shared).serve_forever()
PYTHON
python3 "$WORK/shared.py" "$SHARED" &
PIDS+=($!)
reachable "$SHARED"

# Each asks, waits until the response is more than 3600 seconds old, and asks again: "NAME CONTENT CONTENT".
cat >"$WORK/clients.mjs" <<'JS'
import http from "node:http";
import fetch from "make-fetch-happen";
import CacheableRequest from "cacheable-request";
import { Agent, interceptors, request } from "undici";

const [, , port, folder] = process.argv;
const url = (name) => `http://127.0.0.1:${port}/${name}`;
const plain = fetch.defaults({ cachePath: `${folder}/plain`, retry: false });
const keeping = fetch.defaults({ cachePath: `${folder}/keeping`, retry: false, cacheAdditionalHeaders: ["age"] });
const cacheable = new CacheableRequest(http.request).request();
const dispatcher = new Agent().compose(interceptors.cache());

const clients = {
  "make-fetch-happen": async (from) => (await plain(from)).text(),
  "make-fetch-happen-that-keeps-age": async (from) => (await keeping(from)).text(),
  "cacheable-request": (from) =>
    new Promise((done, failed) => {
      cacheable(from, async (response) => {
        let content = "";
        for await (const part of response) content += part;
        done(content);
      })
        .on("request", (sent) => sent.end())
        .on("error", failed);
    }),
  undici: async (from) => (await request(from, { dispatcher })).body.text(),
};
await Promise.all(
  Object.entries(clients).map(async ([name, ask]) => {
    const first = await ask(url(name));
    await new Promise((done) => setTimeout(done, 3000));
    console.log(name, first, await ask(url(name)));
  }),
);
process.exit();
JS
cat >"$WORK/clients.py" <<'PYTHON'
import sys, time
import requests, requests_cache
from cachecontrol import CacheControl

clients = {
    "requests-cache": requests_cache.CachedSession(backend="memory", cache_control=True),
    "CacheControl": CacheControl(requests.Session()),
}
urls = {name: f"http://127.0.0.1:{sys.argv[1]}/{name}" for name in clients}
for session in clients.values():
    session.trust_env = False
first = {name: session.get(urls[name]).text for name, session in clients.items()}
time.sleep(3)
for name, session in clients.items():
    print(name, first[name], session.get(urls[name]).text)
PYTHON
{
    node "$WORK/clients.mjs" "$SHARED" "$WORK" 2>/dev/null
    "$PYTHON" "$WORK/clients.py" "$SHARED"
} >"$WORK/seen"

echo "max-age=3600, Age: 3599, Date of the origin; asked again after 3 seconds:"
# expect NAME CONTENT: 1 is the stored response, 2 a new one.
expect() {
    local second
    second=$(awk -v name="$1" '$1 == name && $2 == 1 { print $3 }' "$WORK/seen")
    case $second in
    1) echo "  $1: uses what it has stored" ;;
    2) echo "  $1: asks again" ;;
    *) fail "$1 gives no such answers: $(cat "$WORK/seen")" ;;
    esac
    [[ $second == "$2" ]] || fail "$1 does otherwise"
}
expect make-fetch-happen 1
expect requests-cache 1
expect make-fetch-happen-that-keeps-age 2
expect cacheable-request 2
expect undici 2
expect CacheControl 2
echo "As described: two of them take a response that is an hour old for a new one."
