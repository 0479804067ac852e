#!/usr/bin/env bash
# The blocks of RUNBOOK.md, the scripts and the runbook's commands of version 1.0 against a running control plane, a running Envoy and a
# real Prometheus. A story of the end-to-end tests starts them and calls this.
#
#   live.sh REST_PORT ENVOY_PORT ORIGIN_PORT CONFIG_DIR
#
# Only kubectl is the one over a folder: the ConfigMap that it patches is written to CONFIG_DIR the way the kubelet does.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"
# shellcheck source=blocks.sh
. "$TESTS/blocks.sh"

(($# == 4)) || { echo "usage: live.sh REST_PORT ENVOY_PORT ORIGIN_PORT CONFIG_DIR" >&2; exit 2; }
rest=$1
envoy=$2
origin=$3
config_dir=$4
api=http://api-optimizer:8080

free_port() { python3 -S -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# await SECONDS COMMAND…: until it succeeds.
await() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    /bin/sleep 0.2
  done
}

# One round of the kubelet: a changed ConfigMap becomes a new folder, and one rename makes it the present one.
sync_volume() {
  local object=$KUBE_STATE/production/configmaps/api-optimizer-config.json folder key
  [[ -s $object ]] || return 0
  ! cmp -s "$object" "$WORK/synced" || return 0
  cp "$object" "$WORK/synced.new"
  folder=$config_dir/..$(date +%s%N)
  mkdir -p "$folder"
  while IFS= read -r key; do
    jq -jr --arg key "$key" '.data[$key]' "$WORK/synced.new" >"$folder/$key"
    ln -sfn "..data/$key" "$config_dir/$key"
  done < <(jq -r '.data | keys[]' "$WORK/synced.new")
  ln -sfn "${folder##*/}" "$config_dir/..data.new"
  mv -T "$config_dir/..data.new" "$config_dir/..data"
  mv "$WORK/synced.new" "$WORK/synced"
}

kubelet() { while /bin/sleep 0.2; do sync_volume || true; done; }

# The runbook's names, as an ops pod resolves them.
names() {
  local name
  for name in api-optimizer api-optimizer-new api-optimizer.staging api-optimizer-new.production; do
    printf 'connect-to = "%s:8080:127.0.0.1:%s"\n' "$name" "$rest"
  done
  printf 'connect-to = "prometheus:9090:127.0.0.1:%s"\n' "$prometheus"
  printf 'connect-to = "upstream-service:80:127.0.0.1:%s"\n' "$origin"
  printf 'connect-to = "security.company.com:80:127.0.0.1:%s"\n' "$origin"
}

stop_beside() {
  kill "$kubelet_pid" "$prometheus_pid" 2>/dev/null || true
  wait "$kubelet_pid" "$prometheus_pid" 2>/dev/null || true
  cleanup
}

# holds PATH FILTER: the answer to GET PATH is so.
holds() { curl -fsS "$api$1" | jq -e "$2" >/dev/null; }

traffic_flows() {
  local round n
  for round in 1 2 3; do
    for n in {1..20}; do curl -fsS -o /dev/null "http://127.0.0.1:$envoy/item/$n?round=$((round / 3))"; done
  done
}

prometheus=$(free_port)
printf 'scrape_configs: [{job_name: api-optimizer, scrape_interval: 1s, static_configs: [{targets: ["127.0.0.1:%s"]}]}]\n' "$rest" >"$WORK/prometheus.yml"
(PATH=$PATH:/usr/sbin exec prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/tsdb" --web.enable-admin-api \
  --web.listen-address="127.0.0.1:$prometheus") >"$WORK/prometheus.log" 2>&1 &
prometheus_pid=$!
new_cluster new
kubelet &
kubelet_pid=$!
trap stop_beside EXIT
names >"$WORK/home/.curlrc"
export CURL_HOME=$WORK/home
unset API_OPTIMIZER_URL API_OPTIMIZER_STAGING_URL PROMETHEUS_URL
export API_WAIT_SECONDS=10 SECURITY_PARTS='manifests files cluster service' SETTLE_SECONDS=0 MONITOR_SECONDS=1 MONITOR_INTERVAL=1
# The figures of a loaded test machine are not the matter here.
export MAX_P95_MS=60000 MAX_ERROR_RATE=100
curl -fsS -o /dev/null -X PATCH -H 'Content-Type: application/merge-patch+json' --data-binary '{"alerts": {
  "p95_latency": {"warning": 50000, "critical": 60000}, "cpu_usage": {"warning": 100, "critical": 100},
  "memory_usage": {"warning": 100, "critical": 100}, "disk_usage": {"warning": 100, "critical": 100}}}' "$api/settings"

check 'Prometheus is up' await 30 curl -fsS -o /dev/null http://prometheus:9090/-/ready
check 'the ConfigMap is in force' await 20 holds /settings '.settings // . | .cache_size == 1000 and .default_ttl == "5m" and .max_connections == 20'
traffic_flows
check 'the figures show the traffic' await 20 holds /metrics/performance '.sample_count >= 60 and .cache_hit_ratio > 0'
check 'the cache holds it' await 20 holds /cache/stats '.size >= 20 and .default_ttl == "5m"'

# Version 1.0 of the runbook, line by line: every field is there, and a number where a number is compared.
for line in '/metrics/performance .p95_latency' '/metrics/performance .error_rate' '/metrics/performance .cache_hit_ratio' \
  '/metrics/performance .cache_memory_usage' '/metrics/performance .eviction_rate' '/metrics/performance .http2_adoption_rate' \
  '/metrics/performance .connection_reuse_rate' '/metrics/performance .memory_usage_mb' '/metrics/performance .requests_per_second' \
  '/metrics/system .memory_usage' '/metrics/system .cpu_usage' '/metrics/system .disk_usage' '/metrics/system .memory_usage_mb' \
  '/metrics/system .cpu_usage_percent' '/cache/stats .hit_ratio' '/cache/stats .size' '/cache/stats .memory_usage' \
  '/cache/stats .eviction_count' '/cache/stats .recent_evictions' '/cache/invalidation-stats .invalidation_rate' \
  '/circuit-breaker/status .failure_count'; do
  value=$(curl -s "$api${line% *}" | jq -r "${line#* }")
  check "$line is a plain number, not \"$value\"" test "$(bc <<<"$value >= 0" 2>&1)" = 1
done
for line in '/health .status' '/metrics/performance .circuit_breaker_state' '/circuit-breaker/status .state' '/cache/stats .default_ttl' \
  '/cache/stats .average_age'; do
  check "$line is a word" holds "${line% *}" "${line#* } | type == \"string\" and length > 0"
done
check 'alerts are a bare array' holds /alerts/active 'type == "array"'
check 'errors by type' holds /metrics/errors '.errors_by_type | type == "object"'

for heading in 'Quick Actions' 'Step 1: Initial Assessment' 'Step 2: Immediate Actions' 'Step 3: Investigation' 'Daily Health Checks' \
  'High Latency Alert' 'Low Cache Hit Ratio Alert' 'High Error Rate Alert' 'Envoy Alert' 'Backup Procedures' 'Weekly Maintenance' 'Recovery Procedures' \
  'Auto-Tuning Script'; do
  clean "$heading"
done
check 'the backup holds the cache' jq -e '.count >= 20 and .complete' backups/cache-snapshot-latest.json
sed '0,/"record":"/s/"record":"..../"record":"AAAA/' backups/cache-snapshot-latest.json >"backups/cache-snapshot-$(date +%Y%m%d-%H%M%S).json"
run ./scripts/verify-backups.sh
check 'a damaged snapshot is found' test "$STATUS" = 1
rm -f backups/cache-snapshot-2*.json

good 'integration tests' ./scripts/integration-tests.sh staging
good 'health check' ./scripts/health-check.sh production
good 'quick health check' ./scripts/quick-health-check.sh
good 'auto-tuning, by the ConfigMap' ./scripts/auto-tune-performance.sh --door configmap --forget
good 'auto-tuning, dry' ./scripts/auto-tune-performance.sh --dry-run

# The tuning block of version 1.0, whose size is empty: its other keys get through, and somebody is told.
run kubectl patch configmap api-optimizer-config --type=json -p '[{"op": "replace", "path": "/data/cache_size", "value": ""},
  {"op": "replace", "path": "/data/default_ttl", "value": "15m"}, {"op": "replace", "path": "/data/max_connections", "value": "50"}]'
check 'version 1.0 patches the ConfigMap' test "$STATUS" = 0
check 'the good keys are in force' await 20 holds /settings '.settings // . | .default_ttl == "15m" and .max_connections == 50 and .cache_size >= 1000'
check 'the bad key is told' await 20 holds /health '[.. | strings] | any(test("cache_size"))'

clean 'Standard Deployment'
check 'standard: traffic is on new' test "$(traffic)" = new
clean 'Emergency Deployment'
check 'emergency: traffic is on emergency' test "$(traffic)" = emergency
clean 'Security Incident Response' SECURITY_WEBHOOK_URL=http://security.company.com/hooks/security
finish
