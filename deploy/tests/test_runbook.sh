#!/usr/bin/env bash
# Every block of RUNBOOK.md, run as written: names resolve to the stand-in, kubectl is the one over a folder, and nobody sleeps.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

# shellcheck source=blocks.sh
. "$TESTS/blocks.sh"

# The names of the runbook, on port of the stand-in.
resolve() {
  unset API_OPTIMIZER_URL API_OPTIMIZER_STAGING_URL PROMETHEUS_URL
  printf 'connect-to = "::127.0.0.1:%s"\n' "$(<"$WORK/port")" >"$WORK/home/.curlrc"
  export CURL_HOME=$WORK/home
}

# ends NAME PATTERN: the last block failed and said so.
ends() {
  check "$1: fails" test "$STATUS" != 0
  check "$1: says $2" matches "$OUT$ERR" "$2"
}

well() {
  stop_api
  start_api
  resolve
  new_cluster "$@"
}

put() { curl -s -o /dev/null -X PUT --data-binary "$1" http://api-optimizer:8080/_state; }

export SECURITY_PARTS='manifests files cluster service' SETTLE_SECONDS=0 MONITOR_SECONDS=1 MONITOR_INTERVAL=1

# As written, once with quiet figures and once with loud ones: both arms of every `if`.
for figures in '{}' '{"performance": {"p95_latency": 60, "cache_hit_ratio": 40, "error_rate": 6, "requests_per_second": 90.5},
  "cache": {"hit_ratio": 40.25}, "alerts": [{"name": "p95_latency", "severity": "critical"}]}'; do
  well new
  put "$figures"
  for heading in 'Quick Actions' 'Step 1: Initial Assessment' 'Step 2: Immediate Actions' 'Step 3: Investigation' 'Daily Health Checks' \
    'High Latency Alert' 'Low Cache Hit Ratio Alert' 'High Error Rate Alert' 'Envoy Alert' 'Backup Procedures' 'Weekly Maintenance' 'Recovery Procedures' \
    'Auto-Tuning Script'; do
    clean "$heading" MAX_P95_MS=100 MAX_ERROR_RATE=10
  done
  check 'auto-tuning left whole numbers' test "$(curl -s http://api-optimizer:8080/settings | jq '.cache_size | floor == .')" = true
done

well new
clean 'Standard Deployment'
check 'standard: traffic is on new' test "$(traffic)" = new
clean 'Emergency Deployment'
check 'emergency: traffic is on emergency' test "$(traffic)" = emergency
for _ in {1..100}; do
  if [[ -e backups/emergency-monitoring.log && $(<backups/emergency-monitoring.log) == *'ended after'* ]]; then break; fi
  /bin/sleep 0.1
done
check 'emergency: the monitoring has run' matches "$(<backups/emergency-monitoring.log)" 'ended after'
clean 'Security Incident Response' SECURITY_WEBHOOK_URL=http://api-optimizer:8080/hooks/security
check 'security: notified' matches "$(curl -s http://api-optimizer:8080/_writes)" 'security_incident'
check 'security: nothing runs' test -z "$(kubectl get pods -l app=api-optimizer -o name)"
check 'security: evidence of the time before' bash -c 'ls backups/evidence/*/logs/*.log >/dev/null'
play 'Security Incident Response' SECURITY_WEBHOOK_URL=
check 'security: an unset webhook is told' matches "$OUT" 'SECURITY_WEBHOOK_URL is not set'

# In bad states.
well new
put '{"live": false}'
play 'Step 2: Immediate Actions'
check 'down: rolled back' test "$(traffic)" = stable

well new
put '{"ready": false}'
play 'Standard Deployment' API_WAIT_SECONDS=0
ends 'a sick system' 'Pre-deployment checks failed'
check 'a sick system: nothing is applied' test "$(traffic)" = new

well new
faults 'unready new'
play 'Standard Deployment' ROLLOUT_SECONDS=1
ends 'staging does not come up' 'Integration tests failed'
check 'staging does not come up: production is untouched' test "$(traffic)" = new

well new
play 'Standard Deployment' API_OPTIMIZER_NEW_URL=http://api-optimizer-new:8080/gone
ends 'the new pods are sick' 'initiating rollback'
check 'the new pods are sick: traffic is on stable' test "$(traffic)" = stable

well new
faults 'refuse apply deployments'
play 'Emergency Deployment'
ends 'the emergency release is refused' 'Critical checks failed'
faults 'unready emergency'
play 'Emergency Deployment'
ends 'the emergency release is not ready' 'does not come up'
check 'the emergency release is not ready: traffic stays' test "$(traffic)" = new

well new
put '{"failing": {"POST /cache/snapshot": 500}}'
play 'Backup Procedures'
ends 'no snapshot' 'curl: (22)'
rm -rf backups/*
play 'Recovery Procedures'
ends 'nothing to recover from' 'does not exist'
stop_api
play 'Daily Health Checks'
ends 'nobody answers' 'curl: (7)'
finish
