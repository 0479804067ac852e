#!/usr/bin/env bash
# emergency-monitoring.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

export MONITOR_INTERVAL=1 GRACE_SECONDS=0 FAILURES=2
watch=(scripts/emergency-monitoring.sh)
log=backups/emergency-monitoring.log

# await PATTERN: until the log has it.
await() {
  for _ in {1..200}; do
    if [[ -e $log && $(<"$log") == *"$1"* ]]; then return 0; fi
    sleep 0.05
  done
  return 1
}

# begin [VARIABLE=VALUE…]: in the background, as a process group of its own, its output on a pipe that nobody reads any more.
begin() {
  rm -f "$log"
  env "$@" "${watch[@]}" > >(head -n 1 >/dev/null) 2>/dev/null </dev/null &
  PID=$!
}

# ended: its status, in $STATUS.
ended() {
  STATUS=0
  wait "$PID" || STATUS=$?
}

fresh
new_cluster emergency
begin
check 'watches' await 'good: healthy'
kill -HUP "$PID"
rounds=$(grep -c 'good: healthy' "$log")
check 'goes on after SIGHUP' bash -c "for _ in {1..200}; do (( \$(grep -c 'good: healthy' '$log') > $rounds )) && exit 0; sleep 0.05; done; exit 1"
check 'is still there' kill -0 "$PID"
kill -TERM "$PID"
ended
check 'ends on SIGTERM' test "$STATUS" = 143
check 'and says so' await 'ended by SIGTERM'
check 'traffic was left alone' test "$(traffic)" = emergency

begin MONITOR_SECONDS=2
ended
check 'bounded, and good' test "$STATUS" = 0

state '{"ready": false}'
begin MONITOR_SECONDS=60
check 'a failed round' await 'FAILED (1 of 2)'
check 'rolls back' await 'rolled back'
check 'traffic is on stable' test "$(traffic)" = stable
kill -TERM "$PID"
ended

new_cluster emergency
begin MONITOR_SECONDS=4
ended
check 'a rollback is no good end' test "$STATUS" = 1

new_cluster emergency
rm -f "$log"
run env MONITOR_SECONDS=4 "${watch[@]}" --no-rollback
check 'only watching: fails' test "$STATUS" = 1
check 'traffic is left alone' test "$(traffic)" = emergency

run env MONITOR_SECONDS=3 GRACE_SECONDS=100 "${watch[@]}"
check 'within the grace nothing is rolled back' test "$(traffic)" = emergency

faults 'refuse patch services'
rm -f "$log"
run env MONITOR_SECONDS=4 "${watch[@]}"
check 'a rollback that fails is told' matches "$(<"$log")" 'the rollback failed'
check 'and is no good end' test "$STATUS" = 1

bad 'not bounded' 'MONITOR_SECONDS must be' env MONITOR_SECONDS=ever "${watch[@]}"
bad 'no place for the log' 'cannot write' env MONITOR_LOG=/dev/null/log "${watch[@]}"
bad 'no kubectl' 'kubectl is missing' env PATH="$(without kubectl)" "${watch[@]}"
finish
