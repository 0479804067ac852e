#!/usr/bin/env bash
# Watches the service after an emergency deployment, in the background, and takes it back to stable when it does not work.
#
# Usage: emergency-monitoring.sh [--no-rollback] &
#   --no-rollback  only watch
#
# It goes on when the terminal closes (SIGHUP), ends on SIGTERM or SIGINT, and ends by itself after MONITOR_SECONDS. A round has
# failed when the service is not live, not ready, or its figures are critical. After FAILURES failed rounds in a row it runs
# emergency-rollback.sh, until that has succeeded once, and watches on.
#
# Environment: MONITOR_SECONDS   how long it watches (3600)
#              MONITOR_INTERVAL  between two rounds (15)
#              GRACE_SECONDS     at first, while pods come up, failed rounds do not count (60)
#              FAILURES          in a row, before it rolls back (3)
#              MONITOR_LOG       its log (emergency-monitoring.log under BACKUP_DIR, which is "backups"; git-ignored)
#              API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE, NAMESPACE (production), MAX_ERROR_RATE (5), MAX_P95_MS (50)
# Exit: 0 the last round was good; 1 it was not, or it was rolled back; 2 wrong use; 130 and 143 ended by SIGINT and SIGTERM

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

rollback=true
if [[ ${1:-} == --no-rollback ]]; then
  rollback=false
  shift
fi
only_help "$@"
need curl jq
if $rollback; then need kubectl timeout; fi
here=$(dirname -- "${BASH_SOURCE[0]}")
duration=${MONITOR_SECONDS:-3600}
interval=${MONITOR_INTERVAL:-15}
grace=${GRACE_SECONDS:-60}
limit=${FAILURES:-3}
whole_setting MONITOR_SECONDS "$duration" 1 86400
whole_setting MONITOR_INTERVAL "$interval" 1 3600
whole_setting GRACE_SECONDS "$grace" 0 3600
whole_setting FAILURES "$limit" 1 100
log=${MONITOR_LOG:-${BACKUP_DIR:-backups}/emergency-monitoring.log}
(umask 077 && : >>"$log") 2>/dev/null || die "cannot write $log (run this from deploy/, or set MONITOR_LOG)"

# The terminal may go at any time; the log stays.
trap '' HUP PIPE
child=
finish() {
  if [[ -n $child ]]; then kill "$child" 2>/dev/null || true; fi
  note "ended by SIG$1 after $rounds rounds, $bad of them failed"
  exit "$2"
}
trap 'finish TERM 143' TERM
trap 'finish INT 130' INT

note() {
  printf '%s %s\n' "$(date +%Y-%m-%dT%H:%M:%S%z)" "$(one_line "$*")" >>"$log" || true
  printf '%s: %s\n' "$SCRIPT" "$(one_line "$*")" 2>/dev/null || true
}

# In the background, since a signal interrupts `wait` at once, and a running command not.
await() {
  local status=0
  "$@" >"$SCRATCH/said" 2>&1 &
  child=$!
  wait "$child" || status=$?
  child=
  return "$status"
}

# What it says is the verdict, in one line.
good_round() {
  local status=0
  await "$here/quick-health-check.sh" || status=$?
  verdict=$(<"$SCRATCH/said")
  return "$status"
}

# Never interrupted: a signal waits until it is through.
roll_back() {
  local said
  if said=$("$here/emergency-rollback.sh" 2>&1 </dev/null); then
    note "rolled back: $said"
    rolled_back=true
  else
    note "the rollback failed, a person is needed now: $said"
  fi
}

rounds=0
bad=0
in_a_row=0
rolled_back=false
verdict=
healthy=false
scratch
note "watching $BASE_URL for $duration s, log in $log, process $$"
while ((SECONDS < duration)); do
  rounds=$((rounds + 1))
  if good_round; then
    healthy=true
    in_a_row=0
    note "$verdict"
  else
    healthy=false
    bad=$((bad + 1))
    if ((SECONDS >= grace)); then in_a_row=$((in_a_row + 1)); fi
    note "FAILED ($in_a_row of $limit): $verdict"
    if $rollback && ! $rolled_back && ((in_a_row >= limit)); then
      roll_back
      in_a_row=0
    fi
  fi
  await sleep "$((interval < duration - SECONDS ? interval : (duration > SECONDS ? duration - SECONDS : 0)))" || true
done
note "ended after $duration s: $rounds rounds, $bad of them failed"
if $rolled_back; then die "the emergency release was rolled back"; fi
$healthy || die "$verdict"
