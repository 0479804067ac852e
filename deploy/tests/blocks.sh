# shellcheck shell=bash
# Sourced after check.sh: the blocks of RUNBOOK.md (or of another edition in RUNBOOK), as written, with `sleep` taking no time.

# block HEADING: the first bash block below the heading.
block() {
  local line seen=false inside=false
  while IFS= read -r line; do
    if $inside; then
      [[ $line != '```' ]] || return 0
      printf '%s\n' "$line"
    elif [[ $line == '#'*"$1"* ]]; then
      seen=true
    elif $seen && [[ $line == '```bash' ]]; then
      inside=true
    fi
  done <"${RUNBOOK:-$DEPLOY/RUNBOOK.md}"
  return 1
}

mkdir "$WORK/bin"
printf '#!/bin/sh\nexit 0\n' >"$WORK/bin/sleep"
chmod +x "$WORK/bin/sleep"

# play HEADING [VARIABLE=VALUE…]: runs the block from deploy/.
play() {
  local heading=$1
  shift
  block "$heading" >"$WORK/block.sh"
  run env PATH="$WORK/bin:$PATH" "$@" bash "$WORK/block.sh"
}

lacks_null() { ! grep -qw null "$1"; }

# clean HEADING [VARIABLE=VALUE…]: ends well, without an error of any tool, without a null.
clean() {
  play "$@"
  check "$1: ends well" test "$STATUS" = 0
  check "$1: nothing on stderr" test -z "$ERR"
  check "$1: no null" lacks_null "$WORK/out"
}
