#!/usr/bin/env bash
# http-cache-semantics 4.3.0, by which got, npm and others decide: a response that is `immutable` and has no max-age counts as fresh for
# 1,000 days. Its option immutableMinTimeToLive is documented in milliseconds, 24 hours by default, and taken for seconds. Even an Expires
# of one minute is overruled. By RFC 8246 `immutable` gives no lifetime; it holds only while the response is fresh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
node_packages http-cache-semantics@4.3.0

cat >"$WORK/immutable.mjs" <<'JS'
import CachePolicy from "http-cache-semantics";

const now = Date.now();
const date = (seconds) => new Date(now + seconds * 1000).toUTCString();
const expires = { expires: date(60) };
const HOUR = 3600 * 1000;
const cases = [
  ["immutable", {}, {}],
  ["immutable, an hour by the option", {}, { immutableMinTimeToLive: HOUR }],
  ["immutable, and Expires in a minute", expires, {}],
  ["immutable, max-age=60", {}, {}],
];
for (const [name, more, options] of cases) {
  const control = name.startsWith("immutable, max-age") ? name : "immutable";
  const headers = { date: date(0), "cache-control": control, ...more };
  const policy = new CachePolicy({ url: "/", method: "GET", headers: {} }, { status: 200, headers }, options);
  console.log(`${name}: ${Math.round(policy.timeToLive() / 60_000)} minutes`);
}
JS

seen=$(node "$WORK/immutable.mjs")
echo "$seen"
# 86,400,000 seconds, and 3,600,000.
[[ $seen == "immutable: 1440000 minutes
immutable, an hour by the option: 60000 minutes
immutable, and Expires in a minute: 1440000 minutes
immutable, max-age=60: 1 minutes" ]] || fail "it does otherwise"
echo "As described: a day of milliseconds counts as so many seconds."
