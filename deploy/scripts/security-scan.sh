#!/usr/bin/env bash
# Looks for what should not be: vulnerable dependencies, manifests and running pods with rights they do not need, images that
# can change, open files, an API that answers strangers. Uses what is installed and says what it skipped.
#
# Usage: security-scan.sh
#
# Parts: dependencies (cargo audit, cargo deny), images (trivy), manifests, files, cluster, service.
# A finding is a line on stderr; "skipped" is a line on stdout.
#
# Environment: SECURITY_PARTS (all of them), DEPLOYMENT_DIR (deployment), BACKUP_DIR (backups), NAMESPACE (production)
#              SOURCE_DIR  the checked-out product (the folder above deploy/)
#              API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE  with a token, a write without one must be refused; curl's own netrc
#                file is not used for that write
#              PUBLIC_URL  an https address of the service as its clients see it, to judge its certificate (none)
#              SCAN_SECONDS  how long one tool may take (300)
# Exit: 0 no findings; 1 findings, or nothing could be checked; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-policy.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-policy.sh"

only_help "$@"
need kubectl jq curl timeout
seconds=${SCAN_SECONDS:-300}
whole_setting SCAN_SECONDS "$seconds" 1 7200
parts=${SECURITY_PARTS:-dependencies images manifests files cluster service}
deployment=${DEPLOYMENT_DIR:-deployment}
source_dir=${SOURCE_DIR:-$(dirname -- "${BASH_SOURCE[0]}")/../..}
findings=0
checked=0
API_TIMEOUT=5

finding() {
  findings=$((findings + 1))
  warn "finding: $(one_line "$*")"
}

skipped() { say "skipped: $*"; }

checked() {
  checked=$((checked + 1))
  say "checked: $*"
}

# run_tool NAME ARGUMENTS: a scanner in the source folder; its last line tells what it found.
run_tool() {
  local status=0
  scratch
  (cd "$source_dir" && timeout "$seconds" "$@") </dev/null >"$SCRATCH/tool" 2>&1 || status=$?
  if ((status == 0)); then
    checked "$*"
  elif ((status == 124)); then
    skipped "$*: no result within $seconds s"
  else
    finding "$*: $(tail -n 3 "$SCRATCH/tool")"
  fi
}

scan_dependencies() {
  local tool
  [[ -f $source_dir/Cargo.lock ]] || { skipped "dependencies: no Cargo.lock in $source_dir"; return 0; }
  for tool in audit deny; do
    if ! command -v "cargo-$tool" >/dev/null || ! command -v cargo >/dev/null; then
      skipped "cargo $tool is not installed"
    elif [[ $tool == audit ]]; then
      run_tool cargo audit --quiet
    elif [[ -f $source_dir/deny.toml ]]; then
      run_tool cargo deny --log-level error check
    else
      skipped "cargo deny: no deny.toml"
    fi
  done
}

manifests=("$deployment"/{production,staging,emergency}/*.{yaml,yml,json})

# judge WHERE: findings about the objects in $ANSWER.
judge() {
  local line
  policy_findings "$ANSWER" >"$SCRATCH/policy" 2>/dev/null || { finding "$1: not the objects that were expected"; return 0; }
  while IFS= read -r line; do finding "$1: $line"; done <"$SCRATCH/policy"
}

scan_images() {
  local image
  command -v trivy >/dev/null || { skipped "trivy is not installed"; return 0; }
  for image in $(all_images); do run_tool trivy image --quiet --exit-code 1 --severity HIGH,CRITICAL "$image"; done
}

all_images() {
  local file
  for file in "${manifests[@]}"; do
    kube_plain patch --local -f "$file" --type=merge -p '{}' -o json || continue
    jq -r '.spec.template.spec? // empty | (.initContainers[]?, .containers[]?) | .image' "$ANSWER"
  done | sort -u
}

scan_manifests() {
  local file
  for file in "${manifests[@]}"; do
    if kube_plain patch --local -f "$file" --type=merge -p '{}' -o json; then
      judge "$file"
    else
      finding "$file cannot be read: $REASON"
    fi
  done
  if ((${#manifests[@]})); then checked "manifests in $deployment"; else skipped "manifests: none in $deployment (run this from deploy/)"; fi
}

# Secrets and stored responses are readable by their owner alone; nobody else may change what is run as the operator.
scan_files() {
  local file mode
  for file in "${BACKUP_DIR:-backups}"/*.{yaml,json}; do
    mode=$(stat -c %a -- "$file")
    [[ $mode == *00 ]] || finding "$file is open to others (mode $mode)"
  done
  for file in "$(dirname -- "${BASH_SOURCE[0]}")"/*.sh; do
    mode=$(stat -c %a -- "$file")
    (((8#$mode & 8#002) == 0)) || finding "$file can be changed by everybody (mode $mode)"
  done
  checked "modes of backups and scripts"
}

scan_cluster() {
  if ! kube get pods -l app=api-optimizer -o json; then
    skipped "cluster: $REASON"
    return 0
  fi
  judge "$NAMESPACE"
  if kube get networkpolicies -o json; then
    pick 'any(.items[]; .spec.podSelector | (.matchLabels.app == "api-optimizer" or . == {}))' >/dev/null \
      || finding "no NetworkPolicy in $NAMESPACE protects the API: apply base/cluster/network-policies.yaml"
  fi
  checked "pods and policies in $NAMESPACE"
}

scan_service() {
  if api GET /health/live; then
    check_headers
    check_writes
    checked "service at $BASE_URL"
  else
    skipped "service: $REASON"
  fi
  check_certificate
}

check_headers() {
  api GET /settings || { finding "$REASON"; return 0; }
  [[ $(<"$SCRATCH/head") == *[Nn]o-[Ss]tore* ]] || finding "GET /settings may be stored by caches: no Cache-Control: no-store"
  if [[ ${BASE_URL,,} != https:* ]]; then skipped "TLS of the API: plain HTTP, to be reachable inside the cluster only"; fi
}

# The document {} changes nothing even where it is accepted.
check_writes() {
  if API_OPTIMIZER_TOKEN_FILE='' api PATCH '/settings?dry_run=true' --netrc-file /dev/null \
    -H 'Content-Type: application/merge-patch+json' --data-binary '{}'; then
    if [[ -n ${API_OPTIMIZER_TOKEN_FILE:-} ]]; then
      finding "$BASE_URL takes writes without a token"
    else
      skipped "credentials: no API_OPTIMIZER_TOKEN_FILE, and $BASE_URL takes writes from whoever reaches it"
    fi
  elif [[ $HTTP_STATUS != 401 && $HTTP_STATUS != 403 ]]; then
    finding "a write without a token: expected 401 or 403; $REASON"
  fi
}

check_certificate() {
  if [[ -z ${PUBLIC_URL:-} ]]; then
    skipped "certificate: no PUBLIC_URL"
  elif [[ $PUBLIC_URL != https://* ]]; then
    finding "PUBLIC_URL $PUBLIC_URL is not https"
  elif curl --silent --show-error --output /dev/null --connect-timeout 3 --max-time 10 --tlsv1.2 "$PUBLIC_URL" 2>"$SCRATCH/why"; then
    checked "certificate of $PUBLIC_URL"
  else
    finding "$PUBLIC_URL: $(<"$SCRATCH/why")"
  fi
}

for part in $parts; do
  [[ $part =~ ^(dependencies|images|manifests|files|cluster|service)$ ]] || misuse "SECURITY_PARTS: unknown part \"$part\""
done
for part in $parts; do "scan_$part"; done
((findings == 0)) || die "$findings findings"
((checked > 0)) || die "nothing could be checked"
say "no findings"
