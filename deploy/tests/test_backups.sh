#!/usr/bin/env bash
# backup.sh, verify-backups.sh, recover.sh and post-recovery-verification.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

export SETTINGS_SECONDS=1 RECOVERY_SECONDS=1
verify=(scripts/verify-backups.sh)
recover=(scripts/recover.sh)
after=(scripts/post-recovery-verification.sh)

empty() { rm -rf backups && mkdir backups; }

# As the procedure of the runbook writes them, by hand.
by_hand() {
  local day=${1:-$(date +%Y%m%d)}
  kubectl get configmap api-optimizer-config -o yaml >"backups/config-$day.yaml"
  kubectl get secrets api-optimizer-secrets -o yaml >"backups/secrets-$day.yaml"
  curl -s -X POST "$API_OPTIMIZER_URL/cache/snapshot" >"backups/cache-snapshot-$day.json"
  curl -s -X POST "$API_OPTIMIZER_URL/api/v1/admin/tsdb/snapshot" >"backups/metrics-$day.json"
}

all_latest() { ls backups/*latest*; }

# broken NAME PATTERN: verify refuses, and what was the latest stays.
broken() {
  local before
  before=$(sha256sum backups/*latest*)
  bad "$1" "$2" "${verify[@]}"
  check "$1: latest untouched" test "$before" = "$(sha256sum backups/*latest*)"
  check "$1: nothing left behind" test -z "$(ls -d backups/tmp.* 2>/dev/null)"
  by_hand
}

fresh
new_cluster new
empty
bad 'no backups' 'no backup backups/config-' "${verify[@]}"
bad 'nothing to recover from' 'run verify-backups.sh first' "${recover[@]}"
bad 'nothing to compare with' 'nothing to compare with' "${after[@]}"
bad 'no folder' 'no folder' env BACKUP_DIR="$WORK/none" "${verify[@]}"

by_hand
chmod 644 backups/*
good 'what the runbook writes' "${verify[@]}"
check 'it was tried as a restore' matches "$OUT" 'would restore: {"restored":2'
check 'four latest ones and their checksums' test "$(all_latest | wc -l)" = 5
check 'what ties to one cluster is stripped' test -z "$(grep -hE 'resourceVersion|uid|creationTimestamp' backups/*latest.yaml)"
check 'secrets are for nobody else' test -z "$(find backups -name 'secrets*' -perm /077)"
kubectl annotate configmap api-optimizer-config changed=since >/dev/null
check 'the original is a conflict by now' bash -c '! kubectl apply -f backups/config-2*.yaml 2>/dev/null'
check 'the latest one is none' bash -c 'kubectl apply -f backups/config-latest.yaml -n production >/dev/null'
check 'the same data' test "$(kubectl get configmap api-optimizer-config -o json | jq -c .data)" = '{"cache_size":"1000","default_ttl":"5m","max_connections":"20"}'

stop_api
good 'the API is down: contents alone' "${verify[@]}"
check 'it says so' matches "$OUT" 'was not tried as a restore'
start_api

day=$(date +%Y%m%d)
printf '<html>502</html>' >"backups/cache-snapshot-$day.json"
broken 'an error page' 'is no whole cache snapshot'
jq -c '.count = 3' backups/cache-snapshot-latest.json >"backups/cache-snapshot-$day.json"
broken 'a record is missing' 'is no whole cache snapshot'
jq -c '.entries[0].record = "AAAA"' backups/cache-snapshot-latest.json >"backups/cache-snapshot-$day.json"
broken 'a record is damaged' 'would not restore as a whole'
head -c 200 backups/cache-snapshot-latest.json >"backups/cache-snapshot-$day.json"
broken 'torn' 'is no whole cache snapshot'
: >"backups/config-$day.yaml"
broken 'empty' 'is empty'
printf 'a: b: c\n' >"backups/config-$day.yaml"
broken 'no YAML' 'is no manifest'
cp "backups/secrets-$day.yaml" "backups/config-$day.yaml"
broken 'another object' 'is not the ConfigMap api-optimizer-config'
sed -i 's/cache_size: .*/cache_size: ""/' "backups/config-$day.yaml"
broken 'an unusable size' 'cache_size is "", no size'
sed -i '/default_ttl: 5m$/d' "backups/config-$day.yaml"
broken 'a key is missing' 'has no key default_ttl'
sed -i 's/token: .*/token: "%%%"/' "backups/secrets-$day.yaml"
broken 'no base64' 'secrets-'
echo '{"status":"error","error":"admin APIs disabled"}' >"backups/metrics-$day.json"
broken 'Prometheus refused' 'Prometheus took no snapshot'
rm "backups/metrics-$day.json"
broken 'a part is missing' 'no backup backups/metrics-'
good 'parts that are not wanted' env BACKUP_PARTS='config secrets' "${verify[@]}"
by_hand 20300101
rm backups/metrics-20300101.json
broken 'parts of different days' 'are no set'
rm -f backups/*-20300101*
good 'and all is well again' "${verify[@]}"

# backup.sh
empty
good 'a backup' scripts/backup.sh
check 'one stamp, checksums' test "$(find backups -name 'checksums-*.sha256' | wc -l)" = 1
check 'private' test -z "$(find backups -type f -perm /077)"
for file in backups/cache-snapshot-2*.json; do echo ' ' >>"$file"; done
bad 'not what was backed up' 'is not what was backed up' "${verify[@]}"
empty
fresh '{"failing": {"POST /cache/snapshot": 500}}'
bad 'the snapshot fails' 'answered 500' scripts/backup.sh
check 'nothing is left of it' test -z "$(ls backups)"
fresh '{"prometheus": "off"}'
bad 'Prometheus fails' 'admin APIs disabled' scripts/backup.sh
good 'without it' env BACKUP_PARTS='config secrets cache-snapshot' scripts/backup.sh
bad 'no such part' 'unknown part "redis"' env BACKUP_PARTS=redis scripts/backup.sh
fresh
faults 'refuse get secrets'
bad 'no right to read secrets' 'forbidden' scripts/backup.sh

# Recovery.
fresh
empty
good 'a backup to recover from' scripts/backup.sh
kubectl patch configmap api-optimizer-config --type=merge -p '{"data": {"cache_size": "7"}}' >/dev/null
state '{"cache": {"size": 0}}'
bad 'not recovered yet' 'ConfigMap api-optimizer-config differs from backups/config-latest.yaml in: cache_size' "${after[@]}"
good 'dry run' "${recover[@]}" --dry-run
check 'nothing is written' test "$(writes)" = '[]'
check 'the ConfigMap stays' test "$(kubectl get configmap api-optimizer-config -o json | jq -r .data.cache_size)" = 7
good 'recovered' "${recover[@]}"
check 'the ConfigMap is back' test "$(kubectl get configmap api-optimizer-config -o json | jq -r .data.cache_size)" = 1000
check 'the cache is back' matches "$(writes)" '"count":2'
good 'once more' "${recover[@]}"
rm "$KUBE_STATE/production/configmaps/api-optimizer-config.json"
good 'the object was deleted' "${recover[@]}"

# refuses NAME PATTERN: recover stops before it writes.
refuses() {
  : >"$KUBE_STATE/calls"
  bad "$1" "$2" "${recover[@]}"
  check "$1: nothing is applied" test -z "$(jq -r 'select(index("apply") and (any(.[]; startswith("--dry-run")) | not))[]' "$KUBE_STATE/calls")"
}
fresh '{"refused_records": 2}'
refuses 'the snapshot would not restore' 'would not restore'
fresh
faults 'refuse apply secrets'
refuses 'the API server refuses' 'forbidden'
no_faults
echo ' ' >>backups/secrets-latest.yaml
refuses 'changed since it was verified' 'not the ones that were verified'
good 'verified again' "${verify[@]}"
rm backups/cache-snapshot-latest.json
refuses 'a part is gone' 'run verify-backups.sh first'
good 'verified again' "${verify[@]}"
stop_api
bad 'the API never comes up' 'the cache is not' "${recover[@]}"

# What the verification sees.
fresh
good 'as in the backup' "${after[@]}"
fresh '{"cache": {"size": 0}, "stale_records": 2}'
good 'an empty cache when all is stale' "${after[@]}"
fresh '{"cache": {"size": 0}}'
bad 'an empty cache' 'the cache holds none' "${after[@]}"
# The ConfigMap is right, and the control plane does not follow it.
fresh '{"follow": false, "settings": {"cache_size": 99}}'
bad 'other settings in force' 'differ from the ConfigMap in: cache_size' "${after[@]}"
fresh '{"follow": false, "settings": {"cache_size": 99}, "history": [{"door": "rest", "changes": [{"path": "/cache_size"}]}]}'
good 'a setting that somebody chose by another door' "${after[@]}"
check 'the choice is told' matches "$OUT" 'warning: cache_size is not'
fresh
kubectl patch secret api-optimizer-secrets --type=merge -p '{"data": {"token": "YW5kZXJz"}}' >/dev/null
bad 'another secret' 'differs from backups/secrets-latest.yaml in: token' "${after[@]}"
check 'values are not shown' test "$(cat "$WORK/out" "$WORK/err" | grep -c -e YW5kZXJz -e aHVzaA)" = 0
bad 'nobody answers' 'does not answer' env API_OPTIMIZER_URL=http://127.0.0.1:9 "${after[@]}"
finish
