#!/usr/bin/env bash
# What every script has in common.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

names=(emergency-rollback rollback pre-deployment-checks critical-checks-only integration-tests health-check quick-health-check
  post-recovery-verification verify-backups auto-tune-performance security-scan security-assessment emergency-monitoring
  daily-maintenance weekly-maintenance backup recover)

for name in "${names[@]}"; do
  script=scripts/$name.sh
  check "$name can be run" test -x "$script"
  good "$name --help" "$script" --help
  for word in 'Usage:' 'Environment:' 'Exit:' "$name.sh"; do check "$name --help tells $word" matches "$OUT" "$word"; done
  check "$name is strict" grep -q '^set -euo pipefail$' "$script"
  run "$script" --no-such-option
  check "$name: wrong use" test "$STATUS" = 2
  run bash -c "cd scripts && bash $name.sh --help"
  check "$name: from its own folder" test "$STATUS" = 0
done

# Nothing but bash, curl, jq, kubectl, bc and coreutils, so none of these.
foreign=$(grep -nwE 'awk|sed|grep|find|xargs|python3?|perl|yq|wget|flock|pgrep|pkill' scripts/*.sh | grep -vE ':[0-9]+: *#|:[0-9]+:#' || true)
check 'no foreign tools' test -z "$foreign"

if command -v shellcheck >/dev/null; then
  run shellcheck "$DEPLOY"/scripts/*.sh "$DEPLOY"/tests/*.sh
  check 'shellcheck' test "$STATUS" = 0
else
  echo 'skipped: shellcheck is not installed'
fi
finish
