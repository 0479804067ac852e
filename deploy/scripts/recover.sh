#!/usr/bin/env bash
# Puts the latest verified backup back: ConfigMap, Secret, then the cache, and verifies the result. Nothing is written before
# all of it has been checked: checksums, contents, and what the API server and the control plane say to a dry run.
#
# Usage: recover.sh [--dry-run]
#
# It may be repeated: restoring a snapshot again changes nothing. Stored responses keep their age; the expired ones are left out.
#
# Environment: BACKUP_DIR (backups), BACKUP_PARTS (config secrets cache-snapshot metrics), NAMESPACE (production)
#              API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
#              RECOVERY_SECONDS  how long the API may take to come up, and the restore (120)
# Exit: 0 recovered; 1 not; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-backup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-backup.sh"

dry_run=false
if [[ ${1:-} == --dry-run ]]; then
  dry_run=true
  shift
fi
only_help "$@"
need kubectl jq curl timeout sha256sum
seconds=${RECOVERY_SECONDS:-120}
whole_setting RECOVERY_SECONDS "$seconds" 1 3600
check_backup_dir

check_latest() {
  local part
  for part in $BACKUP_PARTS; do
    [[ -s $(latest "$part") ]] || die "no $(latest "$part"): run verify-backups.sh first"
  done
  [[ -s $BACKUP_DIR/latest.sha256 ]] || die "no $BACKUP_DIR/latest.sha256: run verify-backups.sh first"
  (cd "$BACKUP_DIR" && sha256sum --check --strict --status latest.sha256 2>/dev/null) \
    || die "$BACKUP_DIR: the latest files are not the ones that were verified; run verify-backups.sh"
  if has_part config; then check_config "$(latest config)"; fi
  if has_part secrets; then check_secrets "$(latest secrets)"; fi
  if has_part cache-snapshot; then check_snapshot "$(latest cache-snapshot)"; fi
}

manifests() {
  local part
  for part in config secrets; do
    if has_part "$part"; then printf '%s\n' "$(latest "$part")"; fi
  done
}

apply() {
  local file
  while IFS= read -r file; do
    must_kube apply "$@" -f "$file"
    say "$(one_line "$(<"$ANSWER")")"
  done < <(manifests)
}

restore_cache() {
  local file
  file=$(latest cache-snapshot)
  API_WAIT_SECONDS=$seconds await_api || die "the configuration is restored, the cache is not: $REASON"
  dry_restore "$file"
  API_TIMEOUT=$seconds must_api POST /cache/restore -H 'Content-Type: application/json' --upload-file "$file"
  say "cache: $(jq -c . "$ANSWER")"
}

check_latest
apply --dry-run=server
if has_part cache-snapshot && api GET /health/live; then dry_restore "$(latest cache-snapshot)"; fi
if $dry_run; then
  say "dry run: nothing was changed"
  exit 0
fi
apply
if has_part cache-snapshot; then restore_cache; fi
"$(dirname -- "${BASH_SOURCE[0]}")/post-recovery-verification.sh"
