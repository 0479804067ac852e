#!/usr/bin/env bash
# The weekly maintenance: cache, logs, tuning, backups, security. A step that fails does not keep the others from running.
#
# Usage: weekly-maintenance.sh
#
# Environment: that of auto-tune-performance.sh, verify-backups.sh and security-scan.sh, which it runs; NAMESPACE (production)
# Exit: 0 all steps succeeded; 1 some did not, each told on stderr; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

only_help "$@"
need kubectl curl jq timeout
here=$(dirname -- "${BASH_SOURCE[0]}")
failed=()

optimize_cache() {
  api POST /cache/optimize || { warn "$REASON"; return 1; }
  say "$(jq -c . "$ANSWER" 2>/dev/null || true)"
}

# Every running pod of Envoy, as a control plane writes no files of logs: an exec on the Deployment reaches one of them. No terminal is asked for: cron has none.
rotate_logs() {
  local pod pods status=0
  kube get pods -l app=api-optimizer,component=data-plane --field-selector=status.phase=Running -o json || { warn "$REASON"; return 1; }
  pods=$(jq -r '.items[].metadata.name' "$ANSWER") || return 1
  [[ -n $pods ]] || { warn "no running pod"; return 1; }
  for pod in $pods; do
    if kube exec "$pod" -- logrotate /etc/logrotate.conf; then
      say "rotated in $pod"
    else
      warn "$pod: $REASON"
      status=1
    fi
  done
  return "$status"
}

# step NAME COMMAND
step() {
  say "$1:"
  "$2" || failed+=("$1")
}

say "WEEKLY MAINTENANCE - $(date)"
step 'Cache optimization' optimize_cache
step 'Log rotation' rotate_logs
step 'Performance tuning' "$here/auto-tune-performance.sh"
step 'Backup verification' "$here/verify-backups.sh"
step 'Security scan' "$here/security-scan.sh"

if ((${#failed[@]})); then
  IFS=,
  die "failed: ${failed[*]}"
fi
say "weekly maintenance completed"
