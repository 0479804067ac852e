#!/usr/bin/env bash
# Backs up configuration, secrets, the cache and Prometheus, then verifies what was written. Each file appears only when it
# is whole; nothing older is overwritten.
#
# Usage: backup.sh
#
# Environment: BACKUP_DIR (backups), BACKUP_PARTS (config secrets cache-snapshot metrics), NAMESPACE (production)
#              API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE, PROMETHEUS_URL (http://prometheus:9090)
#              SNAPSHOT_SECONDS  how long the cache snapshot may take (120)
# Exit: 0 backed up and verified; 1 not; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-backup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-backup.sh"

only_help "$@"
need kubectl jq curl timeout sha256sum
PROMETHEUS_URL=${PROMETHEUS_URL:-http://prometheus:9090}
seconds=${SNAPSHOT_SECONDS:-120}
whole_setting SNAPSHOT_SECONDS "$seconds" 1 3600
check_backup_dir
TMPDIR=$BACKUP_DIR scratch
mkdir "$SCRATCH/set"
# One stamp for all parts: four calls of `date` differ around midnight.
stamp=$(date +%Y%m%d-%H%M%S)

back_up() {
  case $1 in
    config) must_kube get configmap "$CONFIG_NAME" -o yaml ;;
    secrets) must_kube get secret "$SECRET_NAME" -o yaml ;;
    cache-snapshot) API_TIMEOUT=$seconds must_api POST /cache/snapshot ;;
    metrics) BASE_URL=${PROMETHEUS_URL%/} API_OPTIMIZER_TOKEN_FILE='' must_api POST /api/v1/admin/tsdb/snapshot ;;
  esac
  mv "$ANSWER" "$SCRATCH/set/$1-$stamp.$(suffix_of "$1")"
  say "backed up $1"
}

for part in $BACKUP_PARTS; do back_up "$part"; done
(cd "$SCRATCH/set" && sha256sum -- *) >"$SCRATCH/sums"
mv "$SCRATCH/sums" "$SCRATCH/set/checksums-$stamp.sha256"
mv -n -- "$SCRATCH/set"/* "$BACKUP_DIR/"
drop_scratch
"$(dirname -- "${BASH_SOURCE[0]}")/verify-backups.sh"
