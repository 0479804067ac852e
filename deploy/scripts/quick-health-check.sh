#!/usr/bin/env bash
# One quick round after the switch: the service behind api-optimizer is live, ready, and its figures are not critical.
#
# Usage: quick-health-check.sh
#
# Open breakers and firing alerts are reported and left to a person: an upstream's trouble is no reason to roll back.
#
# Environment: API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
#              MAX_ERROR_RATE  percent from which it fails (5)
#              MAX_P95_MS      milliseconds from which it fails (50)
# Exit: 0 good; 1 not; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-health.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-health.sh"

only_help "$@"
need curl jq
API_TIMEOUT=3
check_service
say "good: $SUMMARY"
