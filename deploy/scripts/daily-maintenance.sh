#!/usr/bin/env bash
# The daily health check: health, figures, resources and active alerts, as a report.
#
# Usage: daily-maintenance.sh
#
# Environment: API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
# Exit: 0 nothing needs a person now; 1 the service is unhealthy, an endpoint fails, or a critical alert fires; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-health.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-health.sh"

only_help "$@"
need curl jq

# line TEXT FIELD UNIT: one figure of the report.
line() {
  local value
  value=$(number "$2" "$source")
  say "  $1: $value$3"
}

say "DAILY HEALTH CHECK - $(date)"
say "System health:"
source='GET /health'
must_api GET /health
status=$(pick '.status | strings') || die "$source has no status"
say "  $status"

say "Performance:"
source='GET /metrics/performance'
must_api GET /metrics/performance
line 'P95 latency' .p95_latency ' ms'
line 'Cache hit ratio' .cache_hit_ratio '%'
line 'Error rate' .error_rate '%'

say "Resources:"
source='GET /metrics/system'
must_api GET /metrics/system
line 'Memory' .memory_usage_mb ' MB'
line 'CPU' .cpu_usage_percent '%'

say "Active alerts:"
report_alerts
say "  $(jq length "$ANSWER") active"
critical=$(critical_alerts)

[[ $status == healthy || $status == degraded ]] || die "the service is $status"
[[ -z $critical ]] || die "critical alerts fire: $critical"
say "daily health check completed"
