#!/usr/bin/env bash
# Saves the evidence of a security incident and says how far the containment has come. Works with the API down and without
# a running pod: what cannot be had is written down as such.
#
# Usage: security-assessment.sh
#
# Saved: the full logs of every pod and container, also of the one before; events, objects, the history of rollouts and of
# settings; checksums over all of it. Secrets are not. Logs which the incident procedure left in /tmp are moved here.
#
# Environment: EVIDENCE_DIR (evidence under BACKUP_DIR, which is "backups"; git-ignored), NAMESPACE (production)
#              STRAY_LOGS_DIR  where those logs were left (/tmp)
#              EVIDENCE_SINCE  how far back logs go (24h)
#              API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
# Exit: 0 evidence is saved; 1 it could not be, or the cluster does not answer; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

umask 077
only_help "$@"
need kubectl jq curl timeout sha256sum
since=${EVIDENCE_SINCE:-24h}
duration_ms "$since" >/dev/null || misuse "EVIDENCE_SINCE must be a duration such as 24h, not \"$since\""
if [[ -z ${EVIDENCE_DIR:-} && ! -d ${BACKUP_DIR:-backups} ]]; then
  die "no folder ${BACKUP_DIR:-backups} here (run this from deploy/, or set EVIDENCE_DIR)"
fi
kube_plain get --raw /version || die "the cluster does not answer: $REASON"
folder=${EVIDENCE_DIR:-${BACKUP_DIR:-backups}/evidence}/$(date +%Y%m%d-%H%M%S)-$$
mkdir -p -- "$folder/logs" "$folder/objects" "$folder/api" 2>/dev/null || die "cannot make $folder"
API_TIMEOUT=5
missing=0

# keep FILE COMMAND...: its answer as a file, or the reason why there is none.
keep() {
  local file=$folder/$1
  shift
  if "$@"; then
    mv -- "$ANSWER" "$file"
  else
    missing=$((missing + 1))
    printf '%s\n' "$REASON" >"$file.missing"
  fi
}

save_objects() {
  local kind
  for kind in deployments replicasets pods services endpointslices networkpolicies events; do
    keep "objects/$kind.json" kube get "$kind" -o json
  done
  keep objects/config.json kube get configmap api-optimizer-config -o json
  keep objects/pods.txt kube describe pods -l app=api-optimizer
  keep objects/rollouts.txt kube rollout history deployment -l app=api-optimizer
}

# Without --tail, kubectl shows ten lines of one container a pod.
save_logs() {
  local pod
  for pod in $(jq -r '.items[] | select(.metadata.labels.app == "api-optimizer") | .metadata.name' "$folder/objects/pods.json" 2>/dev/null); do
    KUBE_TIMEOUT=120 keep "logs/$pod.log" kube logs "$pod" --all-containers --prefix --timestamps --tail=-1 --since="$since"
    if jq -e --arg pod "$pod" '.items[] | select(.metadata.name == $pod) | any(.status.containerStatuses[]?; .restartCount > 0)' \
      "$folder/objects/pods.json" >/dev/null 2>&1; then
      KUBE_TIMEOUT=120 keep "logs/$pod-previous.log" kube logs "$pod" --all-containers --prefix --timestamps --tail=-1 --previous
    fi
  done
}

save_api() {
  keep api/health.json api GET /health
  # One refusal is enough: the control plane is usually scaled away or cut off by now.
  [[ $HTTP_STATUS != 000 ]] || return 0
  keep api/settings.json api GET /settings
  keep api/settings-history.json api GET /settings/history
  keep api/circuit-breaker-events.json api GET /circuit-breaker/events
  keep api/alerts-history.json api GET /alerts/history
  keep api/purges.json api GET /cache/purges
  keep api/fleet.json api GET /fleet
}

# Only what this user wrote, and no link: /tmp belongs to everybody.
adopt_strays() {
  local file
  for file in "${STRAY_LOGS_DIR:-/tmp}"/security-incident-logs-*.log; do
    if [[ -f $file && ! -L $file && -O $file ]]; then
      mv -- "$file" "$folder/logs/"
      chmod 600 -- "$folder/logs/${file##*/}"
      say "moved $file here"
    fi
  done
}

# What still runs and what isolates it.
containment() {
  local running isolated
  running=$(jq -r '[.items[] | select(.metadata.labels.app == "api-optimizer" and .status.phase == "Running") | .metadata.name] | join(", ")' \
    "$folder/objects/pods.json" 2>/dev/null) || running='unknown'
  isolated=$(jq -r '[.items[].spec | select(.podSelector.matchLabels.app == "api-optimizer")]
    | if length == 0 then "no policy isolates the pods"
      elif all(.[]; (.ingress // []) == [] and (.egress // []) == []) then "all pods are cut off, in and out"
      else "policies let traffic through" end' "$folder/objects/networkpolicies.json" 2>/dev/null) || isolated='network policies: unknown'
  say "running pods: ${running:-none}"
  say "$isolated"
}

save_objects
save_logs
save_api
adopt_strays
containment | tee "$folder/containment.txt"
(cd "$folder" && sha256sum -- */* containment.txt >SHA256SUMS)
say "evidence: $folder ($missing pieces could not be had; their .missing files say why)"
