#!/usr/bin/env bash
# Takes a failed deployment back: the Service api-optimizer on version stable, and its API answering.
#
# Usage: rollback.sh [--no-api]
#   --no-api  do not ask the API afterwards (from a place that cannot reach it)
#
# The failed release is left as it is, without traffic, to be looked into.
#
# Environment: NAMESPACE (production), API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
#              ROLLBACK_SECONDS  how long the switch may take (60); API_WAIT_SECONDS  and then the API (30)
# Exit: 0 traffic is on stable and the API answers; 1 not so; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-cluster.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-cluster.sh"

ask_api=true
if [[ ${1:-} == --no-api ]]; then
  ask_api=false
  shift
fi
only_help "$@"
need kubectl jq curl timeout
seconds=${ROLLBACK_SECONDS:-60}
whole_setting ROLLBACK_SECONDS "$seconds" 5 3600

traffic_to_stable "$seconds"
if $ask_api; then
  API_TIMEOUT=5
  await_api || die "traffic is on stable, but its API fails: $REASON"
  say "the API is live and ready"
fi
