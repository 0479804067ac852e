#!/usr/bin/env bash
# Puts the Service api-optimizer on version stable, now: within 30 seconds, without a question, with the REST API down.
#
# Usage: emergency-rollback.sh
#
# Stable must have a ready pod (what was scaled to zero is started). If it has none and the present version still has,
# nothing is switched: it would turn a sick service into none. Afterwards only pods of stable may be behind the Service.
#
# Environment: NAMESPACE (production)
# Exit: 0 traffic is on stable; 1 it is not, or stable does not come up; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-cluster.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-cluster.sh"

only_help "$@"
need kubectl jq timeout
traffic_to_stable 25
say "traffic is on stable after $SECONDS s"
