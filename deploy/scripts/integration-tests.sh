#!/usr/bin/env bash
# Tests a running environment from outside: after its rollout, every endpoint of the runbook answers with the fields it
# promises, settings are checked without being changed, and a snapshot of the cache would restore.
#
# Usage: integration-tests.sh ENV      ENV is staging or production
#
# Nothing is changed, in either environment: writes are dry runs or are refused. In staging, expired responses are swept.
#
# Environment: API_OPTIMIZER_STAGING_URL (http://api-optimizer.staging:8080), API_OPTIMIZER_URL for production,
#              API_OPTIMIZER_TOKEN_FILE, NAMESPACE (production)
#              ROLLOUT_SECONDS  how long the rollout may take (180); API_WAIT_SECONDS  and then the API (30)
#              SKIP_ROLLOUT     "true" does not ask the cluster, only the API
# Exit: 0 all passed; 1 some failed, each told on stderr; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-cluster.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-cluster.sh"

[[ $# -eq 1 ]] || misuse "which environment? staging or production"
[[ $1 != -h && $1 != --help ]] || help_and_exit
environment=$1
use_environment "$environment"
need kubectl curl jq timeout
seconds=${ROLLOUT_SECONDS:-180}
whole_setting ROLLOUT_SECONDS "$seconds" 1 3600

passed=0
failed=0

pass() { passed=$((passed + 1)); }

fail() {
  failed=$((failed + 1))
  warn "failed: $(one_line "$*")"
}

# answers PATH FILTER: GET says 200 and the filter, true for a good document, is true of it.
answers() {
  if ! api GET "$1"; then
    fail "$REASON"
  elif pick "$2" >/dev/null; then
    pass
  else
    fail "GET $1: not so: $2, in $(head -c 300 "$ANSWER")"
  fi
}

# refuses WHAT METHOD PATH [curl options]: answered with 4xx and a problem document.
refuses() {
  local what=$1
  shift
  if api "$@"; then
    fail "$what was accepted"
  elif [[ $HTTP_STATUS == 4?? ]] && pick '.status and .code and .title' >/dev/null; then
    pass
  else
    fail "$what: expected 4xx with a problem document; $REASON"
  fi
}

readonly NUMBERS='def n: type == "number" and . >= 0; def percent: n and . <= 100;'

test_health() {
  answers /health/live .
  answers /health/ready .
  answers /health '.status | IN("healthy", "degraded")'
}

test_figures() {
  answers /metrics/performance "$NUMBERS"'all(.p95_latency, .cache_memory_usage, .eviction_rate, .memory_usage_mb, .requests_per_second; n)
    and all(.error_rate, .cache_hit_ratio, .http2_adoption_rate, .connection_reuse_rate; percent)
    and (.circuit_breaker_state | IN("closed", "open", "half_open"))'
  answers /metrics/system "$NUMBERS"'all(.memory_usage, .cpu_usage, .disk_usage, .cpu_usage_percent; percent) and .memory_usage_mb > 0'
  answers /metrics/errors '.errors_by_type | type == "object" and all(.[]; type == "number")'
  answers /alerts/active 'type == "array" and all(.[]; (.name | type) == "string" and (.severity | type) == "string")'
  answers /circuit-breaker/status '(.state | IN("closed", "open", "half_open")) and (.failure_count | type) == "number"'
}

test_cache() {
  answers /cache/stats "$NUMBERS"'(.hit_ratio | percent) and all(.size, .memory_usage, .eviction_count, .recent_evictions; n)
    and all(.default_ttl, .average_age; type == "string")'
  answers /cache/invalidation-stats "$NUMBERS"'.invalidation_rate | n'
  if [[ $environment == staging ]]; then
    if api POST /cache/optimize; then pass; else fail "$REASON"; fi
  fi
  if api POST '/cache/snapshot?max_mb=8' && pick '.format == "api-optimizer-cache-snapshot"' >/dev/null; then
    mv "$ANSWER" "$SCRATCH/snapshot"
    if api POST '/cache/restore?dry_run=true' -H 'Content-Type: application/json' --data-binary "@$SCRATCH/snapshot" \
      && pick '.refused == 0' >/dev/null; then
      pass
    else
      fail "a fresh snapshot would not restore: ${REASON:-$(head -c 300 "$ANSWER")}"
    fi
  else
    fail "POST /cache/snapshot: ${REASON:-no snapshot}"
  fi
  refuses 'a body that is no snapshot' POST '/cache/restore?dry_run=true' -H 'Content-Type: application/json' --data-binary '{"a":1}'
}

# The runbook's three keys, as its patches write them.
test_settings() {
  local before after
  api GET /settings || { fail "$REASON"; return; }
  before=$(jq -cS . "$ANSWER")
  local patch='[{"op":"replace","path":"/data/cache_size","value":"1200.0"},
    {"op":"replace","path":"/data/default_ttl","value":"15m"},{"op":"replace","path":"/data/max_connections","value":"50"}]'
  if api PATCH '/settings?dry_run=true' -H 'Content-Type: application/json-patch+json' --data-binary "$patch"; then pass; else fail "$REASON"; fi
  refuses 'an impossible cache_size' PATCH '/settings?dry_run=true' -H 'Content-Type: application/merge-patch+json' --data-binary '{"cache_size":0}'
  refuses 'an unknown setting' PATCH '/settings?dry_run=true' -H 'Content-Type: application/merge-patch+json' --data-binary '{"no_such":1}'
  api GET /settings || { fail "$REASON"; return; }
  after=$(jq -cS . "$ANSWER")
  if [[ $before == "$after" ]]; then pass; else fail "a dry run changed the settings"; fi
}

test_strangers() { refuses 'an unknown path' GET /no-such-path; }

[[ ${SKIP_ROLLOUT:-false} == true ]] || await_rollout new "$seconds"
await_api || die "$environment: $REASON"
for part in health figures cache settings strangers; do "test_$part"; done
((failed == 0)) || die "$environment ($BASE_URL): $failed of $((passed + failed)) tests failed"
say "$environment ($BASE_URL): $passed tests passed"
