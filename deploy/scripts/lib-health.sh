# shellcheck shell=bash
# What healthy means; sourced after lib.sh.

MAX_ERROR_RATE=${MAX_ERROR_RATE:-5}
MAX_P95_MS=${MAX_P95_MS:-50}

# What was seen, in one line.
SUMMARY=

# check_service: live, ready, not unhealthy, figures below the critical limits; else the end of the script.
check_service() {
  is_number "$MAX_ERROR_RATE" || misuse "MAX_ERROR_RATE must be a number, not \"$MAX_ERROR_RATE\""
  is_number "$MAX_P95_MS" || misuse "MAX_P95_MS must be a number, not \"$MAX_P95_MS\""
  must_api GET /health/live
  must_api GET /health/ready
  check_health
  check_figures
  report_alerts
}

check_health() {
  local status
  must_api GET /health
  status=$(pick '.status | strings') || die "GET $BASE_URL/health has no status"
  case $status in
    healthy) ;;
    degraded) say "degraded: $(jq -c . "$ANSWER")" ;;
    *) die "$BASE_URL is $status: $(jq -c . "$ANSWER")" ;;
  esac
  SUMMARY=$status
}

check_figures() {
  local errors p95 breaker
  must_api GET /metrics/performance
  errors=$(number .error_rate 'GET /metrics/performance')
  p95=$(number .p95_latency 'GET /metrics/performance')
  breaker=$(pick '.circuit_breaker_state | strings') || die "GET /metrics/performance has no circuit_breaker_state"
  SUMMARY+=", errors $errors %, P95 $p95 ms, breaker $breaker"
  if above "$errors" "$MAX_ERROR_RATE"; then die "error rate $errors % is above $MAX_ERROR_RATE %"; fi
  if above "$p95" "$MAX_P95_MS"; then die "P95 latency $p95 ms is above $MAX_P95_MS ms"; fi
  if [[ $breaker == open ]]; then say "a circuit breaker is open: see GET /circuit-breaker/status"; fi
}

# Prints what fires; $ANSWER holds the list afterwards.
report_alerts() {
  must_api GET /alerts/active
  pick 'type == "array" and all(.[]; (.name | type) == "string" and (.severity | type) == "string")' >/dev/null \
    || die "GET $BASE_URL/alerts/active is no list of alerts with name and severity"
  jq -r '.[] | "alert: \(.severity) \(.name)" + if .summary then ": \(.summary)" else "" end' "$ANSWER"
}

# Names of the critical alerts in $ANSWER.
critical_alerts() { jq -r '[.[] | select(.severity == "critical") | .name] | unique | join(", ")' "$ANSWER"; }
