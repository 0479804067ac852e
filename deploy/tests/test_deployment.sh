#!/usr/bin/env bash
# pre-deployment-checks.sh, critical-checks-only.sh and integration-tests.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

pre=(scripts/pre-deployment-checks.sh)
critical=(scripts/critical-checks-only.sh)
integration=(scripts/integration-tests.sh staging)
alert='[{"id": "1", "name": "error_rate", "severity": "critical", "state": "firing"}]'

image_of() { kubectl get deployment "$1" -n production -o json | jq -r .spec.template.spec.containers[0].image; }
changes() { jq -r 'select((.[0] == "apply" and (any(.[]; startswith("--dry-run")) | not)) or .[0] == "patch" or .[0] == "set" or .[2] == "patch" or .[2] == "set") | join(" ")' "$KUBE_STATE/calls"; }

# Before a standard deployment.
fresh
new_cluster stable
good 'before a deployment, traffic on stable' "${pre[@]}"
check 'nothing to promote' matches "$OUT" 'nothing to promote'
check 'nothing was changed' test -z "$(changes)"

new_cluster new
good 'before a deployment, traffic on new' "${pre[@]}"
check 'stable has it already' matches "$OUT" 'stable runs the release that serves now'

# A release that proved itself, and manifests that agree.
new_cluster new
kubectl set image deployment/api-optimizer-stable envoy=registry.company.com/api-optimizer/envoy:0.0.9 >/dev/null
good 'an older stable is promoted' "${pre[@]}"
check 'it says so' matches "$OUT" 'promoted api-optimizer-stable'
check 'stable runs what new runs' test "$(image_of api-optimizer-stable)" = "$(image_of api-optimizer)"
check 'new is as it was' matches "$(image_of api-optimizer)" 'envoy:'

# Manifests that would put stable back.
new_cluster new
kubectl set image deployment/api-optimizer envoy=registry.company.com/api-optimizer/envoy:0.9.0 >/dev/null
bad 'manifests would lower stable' './generate.py --promote' "${pre[@]}"
good 'not to be promoted' "${pre[@]}" --no-promote

new_cluster emergency
good 'traffic on emergency' "${pre[@]}"
check 'warns' matches "$OUT" 'traffic is on emergency'

new_cluster new
faults 'unready stable'
bad 'stable is not ready' 'not rolled out' env ROLLOUT_SECONDS=1 "${pre[@]}"
for fault in 'refuse apply services' 'refuse patch services' unreachable; do
  faults "$fault"
  bad "cluster: $fault" '' "${pre[@]}"
done
no_faults
rmdir "$KUBE_STATE/staging" 2>/dev/null || rm -r "$KUBE_STATE/staging"
bad 'no namespace staging' 'deployment/staging is refused' "${pre[@]}"
new_cluster new
bad 'no manifests' 'no manifests in' env DEPLOYMENT_DIR="$WORK/none" "${pre[@]}"
mkdir -p "$WORK/loose/staging" "$WORK/loose/production"
cat >"$WORK/loose/staging/a.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: { name: a, labels: { version: new } }
spec: { selector: { matchLabels: { a: b } }, template: { metadata: { labels: { a: b } }, spec: { containers: [{ name: a, image: "a:latest" }] } } }
YAML
bad 'an image that can change' 'images that can change under their name: a:latest' env DEPLOYMENT_DIR="$WORK/loose" "${pre[@]}"
fresh '{"ready": false}'
bad 'the API is not ready' 'health/ready answered 503' "${pre[@]}"
fresh '{"alerts": '"$alert"'}'
bad 'a critical alert fires' 'critical alerts fire: error_rate' "${pre[@]}"
bad 'the API is gone' 'does not answer' env API_OPTIMIZER_URL=http://127.0.0.1:9 "${pre[@]}"

# Before an emergency deployment: the API may be down.
export API_OPTIMIZER_URL=http://127.0.0.1:9
new_cluster new
good 'emergency, API down' "${critical[@]}"
rm "$KUBE_STATE"/production/deployments/*stable.json
good 'emergency without stable' "${critical[@]}"
check 'warns' matches "$OUT" 'no way back'
new_cluster new
for fault in 'refuse apply deployments' 'refuse patch services' unreachable; do
  faults "$fault"
  bad "emergency: $fault" '' "${critical[@]}"
done
no_faults
bad 'emergency: no manifests' 'no manifests in' env DEPLOYMENT_DIR="$WORK/none" "${critical[@]}"
bad 'emergency: no kubectl' 'kubectl is missing' env PATH="$(without kubectl)" "${critical[@]}"

# Integration tests.
fresh
new_cluster new
good 'staging' "${integration[@]}"
good 'production' scripts/integration-tests.sh production
check 'no settings were written' test "$(writes | jq -c '[.[] | select(.path == "/settings")]')" = '[]'
good 'without a cluster' env SKIP_ROLLOUT=true KUBE_STATE="$WORK/nowhere" "${integration[@]}"
bad 'wrong environment' 'unknown environment' scripts/integration-tests.sh dev
bad 'nobody answers' 'does not answer' env API_OPTIMIZER_STAGING_URL=http://127.0.0.1:9 "${integration[@]}"
faults 'unready new'
bad 'the rollout is not done' 'not rolled out' env ROLLOUT_SECONDS=1 "${integration[@]}"
no_faults

# told NAME PATTERN STATE: fails, and names the failure; the last line counts them.
told() {
  fresh "$3"
  run "${integration[@]}"
  check "$1: fails" test "$STATUS" = 1
  check "$1: named" matches "$ERR" "$2"
  check "$1: counted" matches "$ERR" 'tests failed'
}
told 'a null' 'GET /metrics/performance' '{"performance": {"cache_hit_ratio": null}}'
told 'a fraction would pass, 120 % not' 'GET /cache/stats' '{"cache": {"hit_ratio": 120}}'
told 'an unknown breaker state' 'GET /circuit-breaker/status' '{"breaker": {"state": "OPEN"}}'
told 'a snapshot that would not restore' 'would not restore' '{"refused_records": 1}'
told 'optimize fails' 'POST' '{"failing": {"POST /cache/optimize": 500}}'
told 'settings cannot be read' 'GET' '{"failing": {"GET /settings": 500}}'
told 'alerts in an envelope' 'GET /alerts/active' '{"alerts": {"items": []}}'
finish
