#!/usr/bin/env bash
# auto-tune-performance.sh, by either door.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

tune=(scripts/auto-tune-performance.sh)
export SETTLE_SECONDS=0
memory=$XDG_STATE_HOME/api-optimizer/auto-tune.json

setting() { curl -s "$API_OPTIMIZER_URL/settings" | jq -r ".$1"; }
configmap() { kubectl get configmap api-optimizer-config -o json | jq -r ".data.$1"; }
# The stand-in's own settings, not those of the ConfigMap, unless a test says so.
tuning() { rm -rf "$XDG_STATE_HOME" && fresh '{"follow": false}' && { [[ -z ${1:-} ]] || state "$1"; }; }

new_cluster new
tuning
good 'all is well' "${tune[@]}"
check 'nothing to change' matches "$OUT" 'nothing to change'
check 'the recommendation is not asked for' test "$(writes)" = '[]'

tuning '{"performance": {"cache_hit_ratio": 60}}'
good 'a low hit ratio, dry' "${tune[@]}" --dry-run
check 'it says what' matches "$OUT" 'cache_size: 1000 -> 2000'
check 'nothing is set' test "$(setting cache_size)" = 1000
check 'nothing is remembered' test ! -e "$memory"
good 'a low hit ratio' "${tune[@]}"
check 'as recommended' test "$(setting cache_size)" = 2000
check 'a whole number' test "$(jq -c '.cache_size.to' "$memory")" = '"2000"'
check 'with a reason' matches "$(writes)" 'hit ratio 60'

state '{"recommendation": {"cache_size": 4000}}'
good 'the step brought nothing' "${tune[@]}"
check 'so no other follows' test "$(setting cache_size)" = 2000
check 'it says why' matches "$OUT" 'brought nothing'
state '{"performance": {"cache_hit_ratio": 40}, "settings": {"cache_size": 1000}}'
good 'set back by hand' "${tune[@]}"
check 'and not repeated' test "$(setting cache_size)" = 1000
good 'unless it is to be forgotten' "${tune[@]}" --forget
check 'then it is tried' test "$(setting cache_size)" = 4000

tuning '{"performance": {"cache_hit_ratio": 60}}'
good 'the first step' "${tune[@]}"
state '{"performance": {"cache_hit_ratio": 70}, "recommendation": {"cache_size": 3000}}'
good 'too recent to be judged' env SETTLE_SECONDS=600 "${tune[@]}"
check 'waits' test "$(setting cache_size)" = 2000
good 'it helped' "${tune[@]}"
check 'so the next one follows' test "$(setting cache_size)" = 3000

tuning '{"performance": {"cache_hit_ratio": 60}, "recommendation": {"cache_size": 5000000.5}}'
good 'beyond the ceiling' env MAX_CACHE_SIZE=1500 "${tune[@]}"
check 'clamped' test "$(setting cache_size)" = 1500
state '{"performance": {"cache_hit_ratio": 70}}'
good 'at the ceiling' env MAX_CACHE_SIZE=1500 "${tune[@]}"
check 'stays' test "$(setting cache_size)" = 1500
good 'above the ceiling' env MAX_CACHE_SIZE=1200 "${tune[@]}"
check 'is not lowered' test "$(setting cache_size)" = 1500

tuning '{"performance": {"cache_hit_ratio": 60}, "recommendation": {"cache_size": 800, "reason": "nothing is evicted"}}'
good 'growth is not recommended' "${tune[@]}"
check 'stays' test "$(setting cache_size)" = 1000
check 'and says why' matches "$OUT" 'nothing is evicted'
tuning '{"performance": {"cache_hit_ratio": 60}, "settings": {"cache_size": "medium"}, "recommendation": {"cache_size": 12000}}'
good 'a size by its word' "${tune[@]}"
check 'is understood' test "$(setting cache_size)" = 12000

tuning '{"performance": {"p95_latency": 12, "requests_per_second": 120}}'
good 'slow and busy' "${tune[@]}"
check 'ttl' test "$(setting default_ttl)" = 15m
check 'connections' test "$(setting max_connections)" = 50
tuning '{"performance": {"p95_latency": 12, "requests_per_second": 120}, "settings": {"default_ttl": "1h", "max_connections": 200}}'
good 'more than that already' "${tune[@]}"
check 'ttl is not lowered' test "$(setting default_ttl)" = 1h
check 'connections are not lowered' test "$(setting max_connections)" = 200
tuning '{"performance": {"p95_latency": 12}, "settings": {"default_ttl": "0s"}}'
good 'no default freshness' "${tune[@]}"
check 'is a choice' test "$(setting default_ttl)" = 0s

# The other door.
tuning '{"follow": true, "performance": {"cache_hit_ratio": 60, "p95_latency": 12}}'
good 'configmap' "${tune[@]}" --door configmap
check 'size' test "$(configmap cache_size)" = 2000
check 'ttl' test "$(configmap default_ttl)" = 15m
check 'what was not tuned stays' test "$(configmap max_connections)" = 20
check 'nothing by the other door' test "$(writes | jq -c '[.[] | select(.path == "/settings")]')" = '[]'
good 'nothing was gained' env AUTO_TUNE_DOOR=configmap "${tune[@]}"
check 'so nothing follows' test "$(configmap cache_size)" = 2000

new_cluster new
tuning '{"follow": true, "performance": {"cache_hit_ratio": 60}}'
faults 'refuse patch configmaps'
bad 'the patch is refused' 'the ConfigMap was not changed' "${tune[@]}" --door=configmap
no_faults
good 'so it is tried again' "${tune[@]}" --door=configmap
check 'and done' test "$(configmap cache_size)" = 2000
rm "$KUBE_STATE/production/configmaps/api-optimizer-config.json"
tuning '{"performance": {"cache_hit_ratio": 60}}'
bad 'no ConfigMap' 'not found' "${tune[@]}" --door configmap

# Handed over to the control plane.
begun() { writes | jq -c '[.[] | select(.path == "/tuning/experiments") | .body.settings]'; }
new_cluster new
tuning '{"performance": {"cache_hit_ratio": 60, "p95_latency": 12}}'
good 'an experiment, dry' "${tune[@]}" --experiment --dry-run
check 'is not begun' test "$(begun)" = '[]'
good 'an experiment' "${tune[@]}" --experiment
check 'is begun with all steps' test "$(begun)" = '[{"cache_size":2000,"default_ttl":"15m"}]'
check 'for a better hit ratio' test "$(writes | jq -r '.[-1].body.goal')" = cache_hit_ratio
check 'says where' matches "$OUT" 'experiment e0 has begun'
check 'nothing is set' test "$(setting cache_size)" = 1000
check 'nothing is remembered here' test ! -e "$memory"
good 'while it is under way' "${tune[@]}" --experiment
check 'no other is begun' test "$(begun | jq length)" = 1
check 'it says why' matches "$OUT" 'e0: It becomes warm'
state '{"experiments": [{"id": "e0", "state": "inconclusive", "summary": "Too few requests.", "ended_at": 5, "settings": {"cache_size": 2000, "default_ttl": "15m"}}]}'
good 'it came to nothing' env AUTO_TUNE_EXPERIMENT=true "${tune[@]}"
check 'so it is not begun again' test "$(begun | jq length)" = 1
check 'and says what it came to' matches "$OUT" 'Too few requests'
good 'unless it is to be forgotten' env AUTO_TUNE_EXPERIMENT=true "${tune[@]}" --forget
check 'then it is' test "$(begun | jq length)" = 2
tuning '{"performance": {"cache_hit_ratio": 60}, "experiments": [], "failing": {"POST /tuning/experiments": 409}}'
bad 'nobody to compare with' 'answered 409' "${tune[@]}" --experiment
bad 'by the ConfigMap' 'begun by the door api' "${tune[@]}" --experiment --door configmap
bad 'neither true nor false' 'must be true or false' env AUTO_TUNE_EXPERIMENT=perhaps "${tune[@]}"

tuning '{"performance": {"cache_hit_ratio": 60}, "failing": {"PATCH /settings": 409}}'
bad 'the control plane refuses' 'answered 409' "${tune[@]}"
tuning '{"performance": {"cache_hit_ratio": null}}'
bad 'no figure' 'no number .cache_hit_ratio' "${tune[@]}"
tuning '{"performance": {"cache_hit_ratio": 60}, "recommendation": {"cache_size": null}}'
bad 'no recommendation' 'no number .recommendation.cache_size' "${tune[@]}"
tuning '{"performance": {"cache_hit_ratio": 60}}'
mkdir -p "$(dirname "$memory")"
echo broken >"$memory"
bad 'a memory that cannot be read' '--forget starts anew' "${tune[@]}"
bad 'a memory that cannot be written' 'cannot write' env AUTO_TUNE_STATE=/dev/null/x "${tune[@]}"
bad 'wrong door' 'unknown door "window"' "${tune[@]}" --door window
bad 'no door' '--door needs' "${tune[@]}" --door
bad 'no ceiling' 'MAX_CACHE_SIZE must be' env MAX_CACHE_SIZE=0 "${tune[@]}"
rm "$memory"
bad 'nobody answers' 'does not answer' env API_OPTIMIZER_URL=http://127.0.0.1:9 "${tune[@]}"
finish
