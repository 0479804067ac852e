#!/usr/bin/env bash
# security-scan.sh and security-assessment.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

# The scanners of dependencies take minutes and a network: they are stood in for below.
export SECURITY_PARTS='manifests files cluster service'
scan=(scripts/security-scan.sh)
assess=(scripts/security-assessment.sh)
critical=https://127.0.0.1:9

# found NAME PATTERN COMMAND…: exits 1 and names the finding on stderr.
found() {
  local name=$1 pattern=$2
  shift 2
  run "$@"
  check "$name: exits 1" test "$STATUS" = 1
  check "$name: names it" matches "$ERR" "$pattern"
  check "$name: counts" matches "$ERR" 'findings'
}

fresh
new_cluster new
good 'the manifests, pods and service as they are' "${scan[@]}"
check 'says what it skipped' matches "$OUT" 'skipped: credentials'
good 'the API is down' env API_OPTIMIZER_URL=http://127.0.0.1:9 "${scan[@]}"
check 'is skipped' matches "$OUT" 'skipped: service'
faults unreachable
good 'the cluster is down' "${scan[@]}"
check 'is skipped' matches "$OUT" 'skipped: cluster'
no_faults

mkdir -p "$WORK/loose/staging" "$KUBE_STATE/production/pods"
jq -n '{apiVersion: "v1", kind: "Pod", metadata: {name: "loose", labels: {app: "api-optimizer"}}, status: {phase: "Running"},
  spec: {hostNetwork: true, volumes: [{name: "v", hostPath: {path: "/"}}], containers: [{name: "c", image: "i:latest", securityContext: {privileged: true}}]}}' \
  >"$WORK/loose/staging/pod.json"
for pattern in 'shares a namespace of the host' 'mounts a path of the host' 'container c is privileged' 'may gain privileges' \
  'may write to its root' 'may run as root' 'keeps capabilities' 'no seccomp profile' 'no memory limit' 'can change under its name: i:latest'; do
  found "manifest: $pattern" "$pattern" env SECURITY_PARTS=manifests DEPLOYMENT_DIR="$WORK/loose" "${scan[@]}"
done
echo '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}' >"$WORK/loose/staging/secret.json"
found 'manifest: a secret' 'Secret s: holds secrets' env SECURITY_PARTS=manifests DEPLOYMENT_DIR="$WORK/loose" "${scan[@]}"
echo 'a: b: c' >"$WORK/loose/staging/torn.yaml"
found 'manifest: torn' 'torn.yaml cannot be read' env SECURITY_PARTS=manifests DEPLOYMENT_DIR="$WORK/loose" "${scan[@]}"
cp "$WORK/loose/staging/pod.json" "$KUBE_STATE/production/pods/loose.json"
found 'a running pod' 'production: Pod loose: container c is privileged' "${scan[@]}"
rm "$KUBE_STATE/production/pods/loose.json"
rm -r "$KUBE_STATE/production/networkpolicies"
found 'no policies' 'no NetworkPolicy' "${scan[@]}"
new_cluster new
touch backups/secrets-20250101.yaml
chmod 644 backups/secrets-20250101.yaml
found 'a backup for everybody' 'open to others (mode 644)' "${scan[@]}"
rm backups/secrets-20250101.yaml

printf 't0p\n' >"$WORK/token"
export API_OPTIMIZER_TOKEN_FILE=$WORK/token
found 'a token is not asked for' 'takes writes without a token' "${scan[@]}"
state '{"token": "t0p"}'
good 'a token is asked for' "${scan[@]}"
# As in the ops pod, where curl has the token by itself.
printf 'machine 127.0.0.1 login ops password t0p\n' >"$WORK/netrc"
printf 'netrc-file = "%s"\n' "$WORK/netrc" >"$WORK/home/.curlrc"
good 'a token is asked for of who does not show the one that curl has' "${scan[@]}"
unset API_OPTIMIZER_TOKEN_FILE
good 'by the token of curl alone' "${scan[@]}"
check 'and the write is tried' matches "$OUT" "checked: service"
check 'not skipped' test "${OUT/skipped: credentials/}" = "$OUT"
rm "$WORK/home/.curlrc" "$WORK/netrc"
state '{"token": null}'
found 'a public address without TLS' 'is not https' env PUBLIC_URL="$API_OPTIMIZER_URL" "${scan[@]}"
found 'a public address that does not answer' 'finding: https://127.0.0.1:9' env PUBLIC_URL=$critical "${scan[@]}"
bad 'nothing to check' 'nothing could be checked' env SECURITY_PARTS=cluster KUBE_STATE=/dev/null "${scan[@]}"
bad 'no such part' 'unknown part "all"' env SECURITY_PARTS=all "${scan[@]}"

# Dependencies: what the tools say is the verdict.
mkdir -p "$WORK/tools" "$WORK/source"
touch "$WORK/source/Cargo.lock" "$WORK/source/deny.toml"
# shellcheck disable=SC2016
printf '#!/bin/sh\ncase $1 in audit) exit "${AUDIT:-0}" ;; *) echo "error: $1 says no"; exit "${DENY:-0}" ;; esac\n' >"$WORK/tools/cargo"
cp "$WORK/tools/cargo" "$WORK/tools/cargo-audit"
cp "$WORK/tools/cargo" "$WORK/tools/cargo-deny"
chmod +x "$WORK/tools"/*
tools=(env SECURITY_PARTS=dependencies SOURCE_DIR="$WORK/source" PATH="$WORK/tools:$PATH")
good 'dependencies are sound' "${tools[@]}" "${scan[@]}"
check 'both were asked' matches "$OUT" 'checked: cargo deny'
found 'a vulnerable one' 'finding: cargo audit' "${tools[@]}" AUDIT=1 "${scan[@]}"
found 'one that is denied' 'deny says no' "${tools[@]}" DENY=1 "${scan[@]}"

# The incident: scaled to zero, cut off, the API gone.
new_cluster new
for name in api-optimizer api-optimizer-stable api-optimizer-control api-optimizer-control-stable; do
  kubectl scale deployment "$name" --replicas=0 >/dev/null
done
kubectl apply -n production -f security/emergency-network-policies.yaml >/dev/null
stop_api
echo evidence >"$TMPDIR/security-incident-logs-20250101-0000.log"
good 'no pods, no API' "${assess[@]}"
check 'nothing runs' matches "$OUT" 'running pods: none'
check 'cut off' matches "$OUT" 'all pods are cut off'
folder=$(echo backups/evidence/*)
check 'the stray logs are moved' test -s "$folder/logs/security-incident-logs-20250101-0000.log" -a ! -e "$TMPDIR/security-incident-logs-20250101-0000.log"
check 'what is missing is told' matches "$(cat "$folder/api/health.json.missing")" 'does not answer'
check 'checksums' bash -c "cd '$folder' && sha256sum --check --status SHA256SUMS"
check 'private' test -z "$(find backups/evidence -perm /077)"
check 'no secrets' test "$(grep -rc aHVzaA backups/evidence | grep -vc ':0$')" = 0
rm -r backups/evidence

fresh
new_cluster new
mkdir -p "$KUBE_STATE/logs"
pod=$(kubectl get pods -l app=api-optimizer,version=new,component=control-plane -o json | jq -r '.items[0].metadata.name')
seq 500 >"$KUBE_STATE/logs/$pod.log"
good 'running pods' "${assess[@]}"
folder=$(echo backups/evidence/*)
check 'all lines of the log' test "$(wc -l <"$folder/logs/$pod.log")" = 500
check 'not contained yet' matches "$OUT" 'policies let traffic through'
check 'settings are saved' test -s "$folder/api/settings.json"
faults unreachable
bad 'no cluster' 'the cluster does not answer' "${assess[@]}"
no_faults
bad 'no place' 'cannot make' env EVIDENCE_DIR=/dev/null/x "${assess[@]}"
bad 'no folder' 'no folder' env BACKUP_DIR="$WORK/none" "${assess[@]}"
bad 'no duration' 'EVIDENCE_SINCE must be' env EVIDENCE_SINCE=ever "${assess[@]}"
finish
