#!/usr/bin/env bash
# Stops a deployment on a sick system, then secures the way back.
#
# Usage: pre-deployment-checks.sh [--no-promote]
#   --no-promote  leave version stable as it is
#
# Checks: cluster, rights; the API live, ready, without critical figures and without critical alerts; the API
# server accepts deployment/staging/ and deployment/production/; stable has ready pods.
#
# Promotes: where traffic is on version new, that release has proved itself. Its images are given to stable, which is waited
# for, since applying deployment/production/ moves traffic to stable. Manifests that would put stable back to another release
# are refused: run ./generate.py --promote before ./generate.py --release.
#
# Environment: NAMESPACE (production), DEPLOYMENT_DIR (deployment), API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
#              ROLLOUT_SECONDS  how long stable may take (180); MAX_ERROR_RATE (5), MAX_P95_MS (50)
# Exit: 0 deploy; 1 do not; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-cluster.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-cluster.sh"
# shellcheck source=lib-health.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-health.sh"
# shellcheck source=lib-manifests.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-manifests.sh"

promote=true
if [[ ${1:-} == --no-promote ]]; then
  promote=false
  shift
fi
only_help "$@"
need kubectl curl jq timeout
seconds=${ROLLOUT_SECONDS:-180}
whole_setting ROLLOUT_SECONDS "$seconds" 1 3600

check_rights() {
  check_cluster
  may create deployments.apps
  may patch "services/$SERVICE"
}

check_api() {
  local critical
  check_service
  critical=$(critical_alerts)
  [[ -z $critical ]] || die "critical alerts fire: $critical"
  say "the API is good: $SUMMARY"
}

# Both folders; remembers what stable will run.
check_folders() {
  NAMESPACE=staging check_manifests staging
  check_manifests production
  planned=$(images_by_component stable)
}

# Gives the images of version new to stable, Deployment by Deployment of the same component.
promote_new() {
  local running name component assignments
  deployments_of new || die "$REASON"
  running=$(images_by_component new)
  [[ $planned == "$running" || $planned == '{}' ]] \
    || die "$DEPLOYMENT_DIR/production would put stable on $planned, but $running is what proved itself: run ./generate.py --promote first"
  deployments_of stable || die "$REASON"
  if [[ $(images_by_component stable) == "$running" ]]; then
    say "stable runs the release that serves now"
    return 0
  fi
  cp "$ANSWER" "$SCRATCH/stable"
  for name in $(jq -r '.items[].metadata.name' "$SCRATCH/stable"); do
    component=$(jq -r --arg name "$name" '.items[].metadata | select(.name == $name) | .labels.component // .name' "$SCRATCH/stable")
    assignments=$(jq -rn --argjson running "$running" --arg component "$component" '$running[$component] // {} | to_entries[] | "\(.key)=\(.value)"')
    [[ -n $assignments ]] || die "$name: version new has no Deployment of component $component"
    # One image a line, none contains blanks.
    # shellcheck disable=SC2086
    kube set image "deployment/$name" $assignments || die "$name was not promoted: $REASON"
    say "promoted $name: ${assignments//$'\n'/ }"
  done
}

check_rights
check_api
service_version
serving=$VERSION
check_folders
case $serving in
  new) if $promote; then promote_new; fi ;;
  stable) say "traffic is on stable: nothing to promote" ;;
  *) say "warning: traffic is on $serving; applying $DEPLOYMENT_DIR/production moves it to stable" ;;
esac
await_rollout stable "$seconds"
say "pre-deployment checks passed"
