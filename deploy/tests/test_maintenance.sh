#!/usr/bin/env bash
# weekly-maintenance.sh: its own steps; those it calls have tests of their own.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

export SECURITY_PARTS='manifests files' SETTLE_SECONDS=0
weekly=(scripts/weekly-maintenance.sh)

# partly NAME STEP REASON: exits 1, names the reason and the step, and the others ran.
partly() {
  run "${weekly[@]}"
  check "$1: fails" test "$STATUS" = 1
  check "$1: the reason" matches "$ERR" "$3"
  check "$1: the step" matches "$ERR" "failed: $2"
  check "$1: the others ran" matches "$OUT" 'no findings'
}

fresh
new_cluster new
good 'a backup' scripts/backup.sh
good 'all steps' "${weekly[@]}"
check 'the cache was swept' matches "$OUT" '"expired_removed":3'
check 'logs of every pod of Envoy' test "$(grep -c 'rotated in' "$WORK/out")" = 2

faults 'refuse exec pods/logrotate'
partly 'logrotate fails' 'Log rotation' 'exit code 1'
no_faults
for name in api-optimizer api-optimizer-stable api-optimizer-control api-optimizer-control-stable; do
  kubectl scale deployment "$name" --replicas=0 >/dev/null
done
partly 'no pod' 'Log rotation' 'no running pod'
new_cluster new
state '{"failing": {"POST /cache/optimize": 500}}'
partly 'the cache is not swept' 'Cache optimization' 'answered 500'
fresh
mv backups backups.away
mkdir backups
partly 'no backups' 'Backup verification' 'no backup backups/config-'
rmdir backups
mv backups.away backups
finish
