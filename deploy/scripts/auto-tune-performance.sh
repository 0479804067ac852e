#!/usr/bin/env bash
# One careful step of tuning, from what is measured and from what is set now.
#
# Usage: auto-tune-performance.sh [--dry-run] [--door api|configmap] [--experiment] [--forget]
#   --dry-run  say what would be set; change and remember nothing
#   --door     where to write: the control plane's PATCH /settings (api), or the ConfigMap api-optimizer-config (configmap)
#   --experiment
#              hand the step over: the control plane tries it on part of the fleet beside a control group, and promotes or rolls
#              it back by itself (POST /tuning/experiments); needs two Envoys and the door api
#   --forget   drop what was remembered of earlier steps, then go on
#
# Rules, each only upwards and never beyond its ceiling:
#   hit ratio < 80 %       cache_size, as POST /cache/optimize recommends (which sweeps out expired responses on the way)
#   P95 > 5 ms             default_ttl to 15m; 0s (no freshness but the origin's own) is somebody's choice and stays
#   > 80 requests/s        max_connections to 50
# A step is judged at the next run, SETTLE_SECONDS later at the earliest. One that brought nothing is not repeated or followed by
# a larger one of the same setting, until --forget. With --experiment the control plane judges: while an experiment is under way nothing
# is begun, and one that was not promoted is not begun again, until --forget.
#
# Environment: AUTO_TUNE_DOOR (api), AUTO_TUNE_EXPERIMENT (false), API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE, NAMESPACE (production)
#              AUTO_TUNE_STATE   where steps are remembered (~/.local/state/api-optimizer/auto-tune.json)
#              MAX_CACHE_SIZE    ceiling of cache_size, in stored responses (100000)
#              SETTLE_SECONDS    how long a step takes to show in the figures (600)
#              MIN_GAIN_PERCENT  what counts as a gain: points of hit ratio, percent of latency (1)
# Exit: 0 tuned, or nothing to do; 1 refused or failed; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

dry_run=false
forget=false
door=${AUTO_TUNE_DOOR:-api}
experiment=${AUTO_TUNE_EXPERIMENT:-false}
while (($#)); do
  case $1 in
    -h | --help) help_and_exit ;;
    --dry-run) dry_run=true ;;
    --forget) forget=true ;;
    --experiment) experiment=true ;;
    --door) door=${2:-} && shift ;;
    --door=*) door=${1#*=} ;;
    *) misuse "unknown argument \"$1\"" ;;
  esac
  shift || misuse "--door needs api or configmap"
done
[[ $door == api || $door == configmap ]] || misuse "unknown door \"$door\": allowed are api and configmap"
[[ $experiment == true || $experiment == false ]] || misuse "AUTO_TUNE_EXPERIMENT must be true or false, not \"$experiment\""
[[ $experiment == false || $door == api ]] || misuse "an experiment is begun by the door api"
need curl jq
if [[ $door == configmap ]]; then need kubectl timeout; fi
state=${AUTO_TUNE_STATE:-${XDG_STATE_HOME:-${HOME:-/var/tmp}/.local/state}/api-optimizer/auto-tune.json}
ceiling=${MAX_CACHE_SIZE:-100000}
settle=${SETTLE_SECONDS:-600}
gain=${MIN_GAIN_PERCENT:-1}
whole_setting MAX_CACHE_SIZE "$ceiling" 1 1000000
whole_setting SETTLE_SECONDS "$settle" 0 604800
is_number "$gain" || misuse "MIN_GAIN_PERCENT must be a number, not \"$gain\""
# Changed settings, as a JSON object; and what is remembered, one member a setting.
changes='{}'
memory='{}'

load_memory() {
  [[ -e $state && $forget == false ]] || return 0
  memory=$(jq -ce 'select(type == "object" and all(.[]; type == "object"))' "$state" 2>/dev/null) \
    || die "$state cannot be read as the memory of earlier steps; --forget starts anew"
}

save_memory() {
  if ! { mkdir -p -- "$(dirname -- "$state")" && printf '%s\n' "$memory" >"$state.new" && mv -f -- "$state.new" "$state"; } 2>/dev/null; then
    die "cannot write $state"
  fi
}

remember() { memory=$(jq -c --arg key "$1" --argjson step "$2" '.[$key] = $step' <<<"$memory"); }

remembered() { jq -r --arg key "$1" ".[\$key].$2 // empty" <<<"$memory"; }

# may_step KEY PRESENT MEASURED: judges the last step of the setting, if it is still in force. Lower measures are better.
may_step() {
  local key=$1 present=$2 measured=$3 at
  [[ $(remembered "$key" verdict) != no-gain ]] || { say "$key: the last step brought nothing, staying at $present (--forget tries again)"; return 1; }
  at=$(remembered "$key" at)
  [[ -n $at && $(remembered "$key" to) == "$present" ]] || return 0
  if (($(date +%s) - at < settle)); then
    say "$key: the last step is too recent to be judged, staying at $present"
    return 1
  fi
  if gained "$key" "$(remembered "$key" measured)" "$measured"; then return 0; fi
  remember "$key" "$(jq -c --arg key "$key" '.[$key] + {verdict: "no-gain"}' <<<"$memory")"
  say "$key: the step to $present brought nothing ($(remembered "$key" measured) before, $measured now), staying there"
  return 1
}

# Points for the hit ratio, percent of the former value for latency.
gained() {
  case $1 in
    cache_size) jq -ne --argjson before "$2" --argjson now "$3" --argjson gain "$gain" '$now - $before >= $gain' >/dev/null ;;
    default_ttl) jq -ne --argjson before "$2" --argjson now "$3" --argjson gain "$gain" '$before - $now >= $before * $gain / 100' >/dev/null ;;
    *) true ;;
  esac
}

# step KEY FROM TO MEASURED WHY
step() {
  local value=$3
  is_whole "$value" || value="\"$3\""
  changes=$(jq -c --arg key "$1" --argjson value "$value" '.[$key] = $value' <<<"$changes")
  remember "$1" "$(jq -nc --arg from "$2" --arg to "$3" --argjson measured "$4" --argjson at "$(date +%s)" '{at: $at, from: $from, to: $to, measured: $measured}')"
  say "$1: $2 -> $3 ($5)"
}

tune_cache_size() {
  local present target reason
  below "$hit_ratio" 80 || return 0
  present=$(plain_size "$(setting .cache_size)") || die "GET /settings has no size in cache_size"
  may_step cache_size "$present" "$hit_ratio" || return 0
  if ((present >= ceiling)); then
    say "cache_size: $present is at the ceiling of $ceiling (MAX_CACHE_SIZE)"
    return 0
  fi
  must_api POST /cache/optimize
  target=$(number .recommendation.cache_size 'POST /cache/optimize')
  reason=$(pick '.recommendation.reason | strings') || reason='as recommended'
  target=$(jq -n --argjson target "$target" --argjson ceiling "$ceiling" '[$target, $ceiling] | min | floor')
  if ((target <= present)); then
    say "cache_size: a larger cache is not recommended, staying at $present ($reason)"
    return 0
  fi
  step cache_size "$present" "$target" "$hit_ratio" "hit ratio $hit_ratio %; $reason"
}

tune_ttl() {
  local present ms
  above "$p95" 5 || return 0
  present=$(setting '.default_ttl | strings') || die "GET /settings has no default_ttl"
  ms=$(duration_ms "$present") || die "GET /settings: default_ttl \"$present\" is no duration"
  if ((ms == 0)); then
    say "default_ttl: 0s is a choice, staying there"
  elif ((ms < 900000)) && may_step default_ttl "$present" "$p95"; then
    step default_ttl "$present" 15m "$p95" "P95 $p95 ms"
  fi
}

tune_connections() {
  local present
  above "$rps" 80 || return 0
  present=$(plain_size "$(setting .max_connections)") || die "GET /settings has no number max_connections"
  if ((present < 50)); then step max_connections "$present" 50 "$rps" "$rps requests/s"; fi
}

setting() { jq -er "(.settings // .) | $1" "$SCRATCH/settings" 2>/dev/null; }

read_figures() {
  must_api GET /metrics/performance
  hit_ratio=$(number .cache_hit_ratio 'GET /metrics/performance')
  p95=$(number .p95_latency 'GET /metrics/performance')
  rps=$(number .requests_per_second 'GET /metrics/performance')
  must_api GET /settings
  cp "$ANSWER" "$SCRATCH/settings"
  # What the step is based on: if somebody else writes in between, ours is refused.
  etag=$(header etag)
  say "hit ratio $hit_ratio %, P95 $p95 ms, $rps requests/s"
}

header() {
  local name value
  while IFS=: read -r name value; do
    if [[ ${name,,} == "$1" ]]; then
      value=${value//[$'\r\n']/}
      printf '%s' "${value# }"
      return 0
    fi
  done <"$SCRATCH/head"
}

# patch_api [QUERY]: the changes as one transaction.
patch_api() {
  local condition=()
  [[ -z $etag ]] || condition=(-H "If-Match: $etag")
  must_api PATCH "/settings$1" -H 'Content-Type: application/merge-patch+json' "${condition[@]}" \
    -H 'X-Author: auto-tune-performance.sh' -H "X-Reason: hit ratio $hit_ratio %, P95 $p95 ms, $rps requests/s" --data-binary "$changes"
}

patch_configmap() {
  must_kube get configmap api-optimizer-config -o json
  pick '.data | type == "object"' >/dev/null || die "ConfigMap api-optimizer-config has no data"
  kube patch configmap api-optimizer-config --type=merge -p "$(jq -c '{data: map_values(tostring)}' <<<"$changes")" \
    || die "the ConfigMap was not changed: $REASON"
}

# The newest experiment with the same changes, or nothing.
tried() {
  jq -c --argjson changes "$changes" 'map(select(.settings == $changes)) | first // empty' "$SCRATCH/experiments"
}

# Something is being tried already: whatever comes of it changes what is worth a step.
is_trying() {
  local summary
  must_api GET /tuning/experiments
  cp "$ANSWER" "$SCRATCH/experiments"
  summary=$(pick 'map(select(.ended_at == null)) | first | "\(.id): \(.summary)"') && [[ $summary != 'null: null' ]] || return 1
  say "an experiment is under way, nothing is begun: $summary"
}

# What the step is for must have become better.
goal() { jq -r 'if has("cache_size") then "cache_hit_ratio" elif has("default_ttl") then "p95_latency" else "no_harm" end' <<<"$changes"; }

begin_experiment() {
  local before
  before=$(tried)
  if [[ -n $before && $forget == false ]] && jq -e '.state != "promoted"' <<<"$before" >/dev/null; then
    say "this was tried before, and is not tried again: $(jq -r .summary <<<"$before") (--forget tries again)"
    return 0
  fi
  must_api POST /tuning/experiments -H 'Content-Type: application/json' -H 'X-Author: auto-tune-performance.sh' \
    --data-binary "$(jq -nc --argjson settings "$changes" --arg goal "$(goal)" \
      --arg reason "hit ratio $hit_ratio %, P95 $p95 ms, $rps requests/s" '{$settings, $goal, $reason}')"
  say "experiment $(pick .id || true) has begun; the control plane promotes it or rolls it back: GET /tuning/experiments"
}

write_changes() {
  # The control plane judges before anything is written, by either door.
  patch_api '?dry_run=true'
  if $dry_run; then
    say "dry run: accepted, and not written"
    exit 0
  fi
  if $experiment; then
    begin_experiment
    return 0
  fi
  # Remembered first: a step that was made and forgotten could be repeated.
  save_memory
  if [[ $door == api ]]; then
    patch_api '?wait=all&timeout=5s'
    say "revision $(pick .revision || true) is in force; not confirmed yet by: $(pick '.stragglers | length' || true)"
  else
    patch_configmap
    say "the ConfigMap is changed; the control plane follows within the kubelet's delay (60 to 90 s)"
  fi
}

$experiment || load_memory
read_figures
if $experiment && is_trying; then exit 0; fi
tune_cache_size
tune_ttl
tune_connections
if [[ $changes != '{}' ]]; then
  write_changes
else
  $dry_run || $experiment || save_memory
  say "nothing to change"
fi
