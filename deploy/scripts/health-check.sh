#!/usr/bin/env bash
# Judges a release before traffic is switched to it: the pods of version new are rolled out and ready, and their own API
# is healthy. The Service api-optimizer still leads to the old pods at this point, so it is not asked.
#
# Usage: health-check.sh ENV      ENV is staging or production
#
# Environment: API_OPTIMIZER_NEW_URL  API of version new (http://api-optimizer-new:8080, in staging
#                http://api-optimizer-new.staging:8080; where API_OPTIMIZER_URL or API_OPTIMIZER_STAGING_URL names another
#                host, that one is asked)
#              API_OPTIMIZER_TOKEN_FILE, NAMESPACE (production)
#              ROLLOUT_SECONDS  how long the rollout may take (120); API_WAIT_SECONDS  and then the API (30)
#              MAX_ERROR_RATE (5), MAX_P95_MS (50)
# Exit: 0 the release may have traffic; 1 not; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-cluster.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-cluster.sh"
# shellcheck source=lib-health.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-health.sh"

[[ $# -eq 1 ]] || misuse "which environment? staging or production"
[[ $1 != -h && $1 != --help ]] || help_and_exit
use_environment "$1"
need kubectl curl jq timeout
seconds=${ROLLOUT_SECONDS:-120}
whole_setting ROLLOUT_SECONDS "$seconds" 1 3600
BASE_URL=${API_OPTIMIZER_NEW_URL:-${BASE_URL/:\/\/api-optimizer/:\/\/api-optimizer-new}}

await_rollout new "$seconds"
API_TIMEOUT=5
await_api || die "version new: $REASON"
check_service
say "version new in $NAMESPACE is good ($BASE_URL): $SUMMARY"
