#!/usr/bin/env bash
# Compares the running system with the latest verified backup: ConfigMap and Secret hold its values, the control plane runs
# on them, the cache holds what of the snapshot is still fresh, and the service is healthy.
#
# Usage: post-recovery-verification.sh
#
# Environment: BACKUP_DIR (backups), BACKUP_PARTS (config secrets cache-snapshot metrics), NAMESPACE (production)
#              API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
#              API_WAIT_SECONDS  how long the API may take to come up (30)
#              SETTINGS_SECONDS  how long a change of the ConfigMap may take to arrive, the kubelet's delay (120)
#              MAX_ERROR_RATE (5), MAX_P95_MS (50)
# Exit: 0 recovered; 1 not; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-health.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-health.sh"
# shellcheck source=lib-backup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-backup.sh"

only_help "$@"
need kubectl jq curl timeout
seconds=${SETTINGS_SECONDS:-120}
whole_setting SETTINGS_SECONDS "$seconds" 1 3600
check_backup_dir
scratch
wanted=$SCRATCH/wanted

# same_data KIND NAME FILE: the live object's data are those of the file. Values are not printed.
same_data() {
  local differing
  read_object "$3" "$1" "$2"
  jq -S '.data // {}' "$ANSWER" >"$wanted"
  must_kube get "${1,,}" "$2" -o json
  differing=$(jq -r --slurpfile wanted "$wanted" '(.data // {}) as $live | $wanted[0]
    | [to_entries[] | select($live[.key] != .value) | .key] | join(", ")' "$ANSWER")
  [[ -z $differing ]] || die "$1 $2 differs from $3 in: $differing"
  say "$1 $2 is as in $3"
}

# Settings in force that are not what $wanted, the ConfigMap's data, says; as the control plane reads them.
deviating_settings() {
  local key value live
  for key in cache_size default_ttl max_connections; do
    value=$(jq -r --arg key "$key" '.[$key] // empty' "$wanted")
    live=$(pick "(.settings // .).$key") || live=
    if [[ $key == default_ttl ]]; then
      value=$(duration_ms "$value") || value=
      live=$(duration_ms "$live") || live=
    else
      value=$(plain_size "$value") || value=
    fi
    if [[ $value != "$live" ]]; then printf '%s ' "$key"; fi
  done
}

# chosen KEY: whoever changed the setting last used another door than the ConfigMap. Such a choice stays until the ConfigMap's own
# value changes, so it is no fault of the recovery.
chosen() {
  must_api GET /settings/history
  pick "[(if type == \"array\" then . else .revisions end)[] | select(any(.changes[]?; .path == \"/$1\"))] | last | (.door // \"config_map\") != \"config_map\"" >/dev/null
}

tell_choices() {
  local key
  for key in $chosen_keys; do say "warning: $key is not the ConfigMap's: it was changed by another door since (GET /settings/history)"; done
}

check_settings() {
  local deadline=$((SECONDS + seconds)) deviating key chosen_keys
  cp "$wanted" "$SCRATCH/config-data"
  wanted=$SCRATCH/config-data
  while true; do
    must_api GET /settings
    deviating=
    chosen_keys=
    for key in $(deviating_settings); do
      if chosen "$key"; then chosen_keys+="$key "; else deviating+="$key "; fi
    done
    [[ -n $deviating ]] || break
    ((SECONDS < deadline)) || die "after $seconds s the settings in force still differ from the ConfigMap in: $deviating"
    sleep 1
  done
  tell_choices
  say "the settings in force are the ConfigMap's${chosen_keys:+, but for $chosen_keys}"
}

# The control plane says how many records would be restored now: those that are still fresh. The size it shows is reported by
# the Envoys, so it follows with a delay.
check_cache() {
  local fresh size deadline=$((SECONDS + API_WAIT_SECONDS))
  dry_restore "$(latest cache-snapshot)"
  fresh=$(number .restored 'POST /cache/restore')
  while true; do
    must_api GET /cache/stats
    size=$(number .size 'GET /cache/stats')
    if above "$size" 0 || ! above "$fresh" 0; then break; fi
    ((SECONDS < deadline)) || die "the snapshot has $fresh fresh responses, the cache holds none"
    sleep 1
  done
  say "the cache holds $size responses, the snapshot $fresh that are still fresh"
}

for part in $BACKUP_PARTS; do
  [[ -s $(latest "$part") ]] || die "no $(latest "$part"): nothing to compare with"
done
await_api || die "$REASON"
if has_part secrets; then same_data Secret "$SECRET_NAME" "$(latest secrets)"; fi
if has_part config; then
  same_data ConfigMap "$CONFIG_NAME" "$(latest config)"
  check_settings
fi
if has_part cache-snapshot; then check_cache; fi
check_service
say "recovered: $SUMMARY"
