#!/usr/bin/env bash
# What must be true before an emergency deployment: the cluster answers, the rights are there, the manifests and their images
# are acceptable, and there is a stable version to fall back to. The API is not asked: it may be what is down.
#
# Usage: critical-checks-only.sh
#
# Environment: NAMESPACE (production), DEPLOYMENT_DIR (deployment)
# Exit: 0 the emergency release can be applied; 1 not; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-cluster.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-cluster.sh"
# shellcheck source=lib-manifests.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-manifests.sh"

only_help "$@"
need kubectl jq timeout

check_cluster
may create deployments.apps
may patch "services/$SERVICE"
service_version
say "traffic is on $VERSION"
check_manifests emergency

# A missing way back is said, and does not stop an emergency.
if ! deployments_of stable; then
  say "warning: $REASON, so there is no way back"
elif waiting=$(without_ready_pods) && [[ -n $waiting ]]; then
  say "warning: no ready pod of $waiting, so the way back is slow"
fi
say "critical checks passed"
