# shellcheck shell=bash
# Sourced by every test: a cluster in a folder, a stand-in for the API, and a few ways to say what must be.

set -euo pipefail
TESTS=$(cd "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
DEPLOY=$(dirname -- "$TESTS")
WORK=$(mktemp -d)
FAILED=0
CASES=0
API_PID=

cleanup() {
  stop_api
  rm -rf -- "$WORK"
}
trap cleanup EXIT

export KUBE_STATE=$WORK/cluster KUBE_CACHE=$WORK/manifests
# Version managers put a slow script before python3, and the stand-ins start it hundreds of times.
mkdir "$WORK/python"
ln -s "$(python3 -c 'import sys; print(sys.executable)')" "$WORK/python/python3"
export PATH=$TESTS:$WORK/python:$PATH
export HOME=$WORK/home XDG_STATE_HOME=$WORK/state TMPDIR=$WORK/tmp STRAY_LOGS_DIR=$WORK/tmp
export API_TIMEOUT=5 ROLLOUT_SECONDS=5 API_WAIT_SECONDS=1
unset API_OPTIMIZER_TOKEN_FILE NAMESPACE
mkdir -p "$WORK/home" "$WORK/tmp" "$KUBE_CACHE"
# What the runbook expects of the working directory, on the real manifests.
mkdir -p "$WORK/deploy/backups"
for entry in scripts deployment security base; do ln -s "$DEPLOY/$entry" "$WORK/deploy/$entry"; done
cd "$WORK/deploy"

start_api() {
  rm -f "$WORK/port"
  python3 -B "$TESTS/api.py" --port-file "$WORK/port" --configmap "$KUBE_STATE/production/configmaps/api-optimizer-config.json" &
  API_PID=$!
  for _ in {1..100}; do
    [[ ! -s $WORK/port ]] || break
    sleep 0.05
  done
  API_OPTIMIZER_URL=http://127.0.0.1:$(<"$WORK/port")
  API_OPTIMIZER_STAGING_URL=$API_OPTIMIZER_URL
  PROMETHEUS_URL=$API_OPTIMIZER_URL
  export API_OPTIMIZER_URL API_OPTIMIZER_STAGING_URL PROMETHEUS_URL
}

stop_api() {
  [[ -n $API_PID ]] || return 0
  kill "$API_PID" 2>/dev/null || true
  wait "$API_PID" 2>/dev/null || true
  API_PID=
}

# state JSON: changes what the API answers.
state() { curl --silent --fail --output /dev/null --request PUT --data-binary "$1" "$API_OPTIMIZER_URL/_state"; }

writes() { curl --silent --fail "$API_OPTIMIZER_URL/_writes"; }

# A production cluster in good order, traffic on VERSION.
new_cluster() {
  rm -rf -- "$KUBE_STATE"
  mkdir -p "$KUBE_STATE/production" "$KUBE_STATE/staging"
  {
    kubectl apply -n production -f deployment/production/
    kubectl apply -n staging -f deployment/staging/
    kubectl apply -n production -f base/cluster/network-policies.yaml
    kubectl create -n production -f base/once/config.yaml
    kubectl apply -n production -f - <<'SECRET'
{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "api-optimizer-secrets"}, "type": "Opaque", "data": {"token": "aHVzaA=="}}
SECRET
    switch_to "${1:-new}"
  } >/dev/null
  : >"$KUBE_STATE/calls"
}

switch_to() {
  kubectl patch service api-optimizer -n production --type=json \
    -p '[{"op": "replace", "path": "/spec/selector/version", "value": "'"$1"'"}]' >/dev/null
}

traffic() { kubectl get service api-optimizer -n production -o json | jq -r .spec.selector.version; }

faults() { printf '%s\n' "$@" >"$KUBE_STATE/faults"; }

no_faults() { rm -f "$KUBE_STATE/faults"; }

# fresh [JSON]: the API in good order but for this; the cluster without faults.
fresh() {
  stop_api
  start_api
  no_faults
  [[ -z ${1:-} ]] || state "$1"
}

# run COMMAND…: its output in $OUT and $ERR, its status in $STATUS.
run() {
  STATUS=0
  "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || STATUS=$?
  OUT=$(<"$WORK/out")
  ERR=$(<"$WORK/err")
}

# The script is the first word; a verdict is good when it exits 0 and says nothing on stderr.
good() {
  local name=$1
  shift
  run "$@"
  check "$name" test "$STATUS" = 0
  check "$name: nothing on stderr" test -z "$ERR"
}

# bad NAME PATTERN COMMAND…: exits non-zero, says one line on stderr, which matches.
bad() {
  local name=$1 pattern=$2
  shift 2
  run "$@"
  check "$name: refused" test "$STATUS" != 0
  check "$name: one line" test "$(wc -l <"$WORK/err")" = 1
  check "$name: says $pattern" matches "$ERR" "$pattern"
}

# without TOOL: a PATH on which only it is missing.
without() {
  local tool folder=$WORK/without-$1
  mkdir -p "$folder"
  for tool in bash basename bc cat chmod cp curl cut date dirname env head jq kubectl mkdir mktemp mv python3 rm sha256sum sleep sort stat tail tee timeout; do
    [[ $tool == "$1" ]] || ln -sf "$(type -P "$tool")" "$folder/$tool"
  done
  printf '%s' "$folder"
}

matches() { [[ $1 == *$2* ]]; }

# check NAME COMMAND…
check() {
  local name=$1
  shift
  CASES=$((CASES + 1))
  if "$@"; then return 0; fi
  FAILED=$((FAILED + 1))
  printf 'not ok: %s\n    %s\n    status %s\n    stdout: %s\n    stderr: %s\n' "$name" "$*" "${STATUS:-}" "${OUT:-}" "${ERR:-}"
}

finish() {
  printf '%s: %s checks, %s failed\n' "$(basename "$0")" "$CASES" "$FAILED"
  ((FAILED == 0))
}
