#!/usr/bin/env bash
# undici 7.30.2, cache interceptor: a stored response that must be validated each time (`no-cache` with an ETag) is validated once. The 304
# answers that request, with the fields of the stored response in place of its own and with `Warning: 110`, as if it were stale; then
# nothing is stored any more, and the next request fetches everything again. A cache takes the fields of a 304 over and keeps the response
# (RFC 9111 sections 3.2 and 4.3.4), as CacheControl 0.14.4 does.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
python_packages requests==2.34.2 CacheControl==0.14.4
node_packages undici@7.30.2
ports ORIGIN

# Content that never changes. Each response says how many requests there have been, and how it was asked for is logged.
cat >"$WORK/origin.py" <<'PYTHON'
import http.server, sys

asked = {}

class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        client, _, what = self.path[1:].partition("/")
        log = asked.setdefault(client, [])
        if what == "log":
            return self.answer(200, " ".join(log).encode(), {})
        conditional = self.headers.get("if-none-match") == '"v"'
        log.append("validates" if conditional else "fetches")
        fields = {"cache-control": "no-cache", "etag": '"v"', "x-request": str(len(log))}
        self.answer(304 if conditional else 200, b"" if conditional else b"content", fields)

    def answer(self, status, content, fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if status == 200:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
PYTHON
python3 "$WORK/origin.py" "$ORIGIN" &
PIDS+=($!)
reachable "$ORIGIN"

cat >"$WORK/undici.mjs" <<'JS'
import { Agent, interceptors, request } from "undici";

const dispatcher = new Agent().compose(interceptors.cache());
for (let number = 1; number <= 4; number++) {
  const { headers, body } = await request(`${process.argv[2]}/undici/page`, { dispatcher });
  console.log(`${await body.text()} of request ${headers["x-request"]}, warning ${headers.warning ?? "none"}`);
}
process.exit();
JS

cat >"$WORK/control.py" <<'PYTHON'
import requests, cachecontrol, sys

session = cachecontrol.CacheControl(requests.Session())
for number in range(4):
    answer = session.get(sys.argv[1] + "/cachecontrol/page")
    print(f"{answer.text} of request {answer.headers['x-request']}, warning {answer.headers.get('warning', 'none')}")
PYTHON

url="http://127.0.0.1:$ORIGIN"
seen=$(node "$WORK/undici.mjs" "$url")
other=$("$PYTHON" "$WORK/control.py" "$url")
logged=$(curl -s "$url/undici/log")
other_logged=$(curl -s "$url/cachecontrol/log")
printf 'undici:\n%s\nthe origin saw: %s\nCacheControl:\n%s\nthe origin saw: %s\n' "$seen" "$logged" "$other" "$other_logged"
[[ $logged == "fetches validates fetches validates" ]] || fail "undici asks otherwise"
[[ $seen == 'content of request 1, warning none
content of request 1, warning 110 - "response is stale"
content of request 3, warning none
content of request 3, warning 110 - "response is stale"' ]] || fail "undici answers otherwise"
[[ $other_logged == "fetches validates validates validates" ]] || fail "CacheControl asks otherwise"
[[ $other == "content of request 1, warning none
content of request 2, warning none
content of request 3, warning none
content of request 4, warning none" ]] || fail "CacheControl answers otherwise"
echo "As described: what was validated is not kept."
