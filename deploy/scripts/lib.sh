# shellcheck shell=bash
# Shared by the scripts beside it; sourced, never run.
#
# From the environment:
#   API_OPTIMIZER_URL          control plane of production  (http://api-optimizer:8080)
#   API_OPTIMIZER_STAGING_URL  control plane of staging     (http://api-optimizer.staging:8080)
#   API_OPTIMIZER_TOKEN_FILE   file with a bearer token; without it no credentials are sent
#   API_TIMEOUT                seconds one request may take (10)
#   API_WAIT_SECONDS           how long an API that must come up may take (30)
#   NAMESPACE                  where production lives       (production)
#   KUBE_TIMEOUT               seconds one kubectl call may take (10)

set -euo pipefail
shopt -s inherit_errexit nullglob
# A colleague's locale must not change how numbers and sorted names look.
export LC_ALL=C

SCRIPT=${0##*/}
NAMESPACE=${NAMESPACE:-production}
API_TIMEOUT=${API_TIMEOUT:-10}
API_WAIT_SECONDS=${API_WAIT_SECONDS:-30}
KUBE_TIMEOUT=${KUBE_TIMEOUT:-10}
BASE_URL=${API_OPTIMIZER_URL:-http://api-optimizer:8080}
BASE_URL=${BASE_URL%/}

# What the last call of `api` or `kube` answered (a file), and in one line why it failed.
ANSWER=
REASON=
# The status of the last HTTP answer, 000 when there was none.
HTTP_STATUS=000
SCRATCH=

say() { printf '%s\n' "$*"; }

warn() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; }

# One line on stderr, exit 1.
die() {
  warn "$(one_line "$*")"
  exit 1
}

# Wrong use, exit 2.
misuse() {
  warn "$* (see --help)"
  exit 2
}

# The header comment of the script is its manual.
help_and_exit() {
  local line
  while IFS= read -r line; do
    [[ $line == '#!'* ]] && continue
    [[ $line == '#'* ]] || break
    line=${line#\#}
    printf '%s\n' "${line# }"
  done <"$0"
  exit 0
}

# For scripts that take no arguments of their own.
only_help() {
  case ${1:-} in
    '') ;;
    -h | --help) help_and_exit ;;
    *) misuse "unknown argument \"$1\"" ;;
  esac
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is missing; install it or put it on PATH"
  done
}

one_line() {
  local text=${1//[$'\r\n\t']/ }
  while [[ $text == *'  '* ]]; do text=${text//  / }; done
  text=${text%"${text##*[! ]}"}
  printf '%s' "${text:0:600}"
}

drop_scratch() {
  if [[ -n $SCRATCH ]]; then rm -rf -- "$SCRATCH"; fi
}

# A private folder that is gone when the script ends.
scratch() {
  [[ -n $SCRATCH ]] && return 0
  SCRATCH=$(mktemp -d) || die "cannot make a temporary folder in ${TMPDIR:-/tmp}"
  ANSWER=$SCRATCH/answer
  trap drop_scratch EXIT
}

# The control plane of an environment: use_environment staging|production
use_environment() {
  case $1 in
    production) ;;
    staging)
      NAMESPACE=staging
      BASE_URL=${API_OPTIMIZER_STAGING_URL:-http://api-optimizer.staging:8080}
      BASE_URL=${BASE_URL%/}
      ;;
    *) misuse "unknown environment \"$1\": allowed are staging and production" ;;
  esac
}

# The token travels in a file descriptor: arguments are visible to every user of the machine.
credentials() {
  local token
  [[ -n ${API_OPTIMIZER_TOKEN_FILE:-} ]] || return 0
  IFS= read -r token <"$API_OPTIMIZER_TOKEN_FILE" || [[ -n $token ]] || return 0
  printf 'header = "Authorization: Bearer %s"\n' "$token"
}

check_credentials() {
  [[ -z ${API_OPTIMIZER_TOKEN_FILE:-} ]] && return 0
  [[ -s $API_OPTIMIZER_TOKEN_FILE && -r $API_OPTIMIZER_TOKEN_FILE ]] && return 0
  REASON="API_OPTIMIZER_TOKEN_FILE: cannot read $API_OPTIMIZER_TOKEN_FILE, or it is empty"
  return 1
}

# api METHOD PATH [curl options]: 0 and the body in $ANSWER, or 1 and one line in $REASON. Prints nothing.
api() {
  local method=$1 path=$2 failed=0
  shift 2
  scratch
  check_credentials || return 1
  HTTP_STATUS=000
  REASON=
  : >"$ANSWER"
  HTTP_STATUS=$(curl --silent --show-error --fail-with-body --globoff --request "$method" \
    --connect-timeout 3 --max-time "$API_TIMEOUT" --config <(credentials) \
    --output "$ANSWER" --dump-header "$SCRATCH/head" --write-out '%{http_code}' "$@" \
    "$BASE_URL$path" 2>"$SCRATCH/why") || failed=1
  ((failed)) || return 0
  if [[ $HTTP_STATUS == 000 ]]; then
    REASON="$BASE_URL does not answer: $(one_line "$(<"$SCRATCH/why")")"
  else
    REASON="$method $BASE_URL$path answered $HTTP_STATUS $(problem)"
  fi
  return 1
}

# What a problem document says, in short.
problem() {
  jq -r '[.code, .title, .detail, .violations[0].message] | map(strings) | join(": ")' "$ANSWER" 2>/dev/null || true
}

# api, or the end of the script.
must_api() { api "$@" || die "$REASON"; }

# kube ARGUMENTS: kubectl in $NAMESPACE, bounded in time; 0 and its output in $ANSWER, or 1 and one line in $REASON.
kube() { kube_plain -n "$NAMESPACE" "$@"; }

kube_plain() {
  local status=0
  scratch
  REASON=
  timeout "$KUBE_TIMEOUT" kubectl "$@" </dev/null >"$ANSWER" 2>"$SCRATCH/why" || status=$?
  ((status)) || return 0
  REASON="kubectl: $(one_line "$(without_log_lines <"$SCRATCH/why")")"
  if ((status == 124)); then REASON="kubectl: no answer within $KUBE_TIMEOUT s"; fi
  [[ $REASON != 'kubectl: ' ]] || REASON="kubectl ended with status $status"
  return 1
}

# kubectl writes its client's log ("E1124 14:32:33 ...") before the sentence that counts.
without_log_lines() {
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ ^[EWI][0-9]{4}\  ]] || printf '%s\n' "$line"
  done
}

must_kube() { kube "$@" || die "$REASON"; }

# pick FILTER [jq options]: one value out of $ANSWER; nothing, status 1, when it is not there. Never an error message.
pick() {
  local filter=$1
  shift
  jq -er "$@" "$filter" "$ANSWER" 2>/dev/null
}

# number FIELD [WHAT]: a finite number out of $ANSWER, or the end of the script.
number() {
  pick "$1 | select(type == \"number\") | select(. > -1e300 and . < 1e300)" || die "${2:-the answer} has no number $1"
}

is_number() { [[ ${1:-} =~ ^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$ ]]; }

is_whole() { [[ ${1:-} =~ ^[0-9]{1,15}$ ]]; }

# Comparisons of decimals; false when one of them is no number.
above() { compare "$1" '>' "$2"; }

below() { compare "$1" '<' "$2"; }

compare() {
  is_number "$1" && is_number "$3" || return 1
  jq -ne --argjson a "$1" --argjson b "$3" "\$a $2 \$b" >/dev/null
}

# "1h30m" as milliseconds, or a word of the tuning guidelines; fails on what is no duration.
duration_ms() {
  jq -ner --arg text "${1:-}" '
    {ms: 1, s: 1000, m: 60000, h: 3600000, d: 86400000} as $unit
    | {short: "1m", medium: "5m", long: "1h"} as $words
    | ($words[$text] // $text) as $text
    | [$text | scan("([0-9]+(?:[.][0-9]+)?)(ms|s|m|h|d)")] as $parts
    | select($text != "" and ($parts | map(add) | add) == $text)
    | $parts | map((.[0] | tonumber) * $unit[.[1]]) | add | floor' 2>/dev/null
}

# A size as the settings read it: a word of the tuning guidelines as its number, decimals rounded down.
plain_size() {
  case ${1:-} in
    small) printf 1000 ;;
    medium) printf 10000 ;;
    large) printf 100000 ;;
    *)
      is_number "$1" || return 1
      jq -n --argjson size "$1" '$size | floor'
      ;;
  esac
}

# whole_setting NAME VALUE MIN MAX: a whole number from the environment, or the end of the script.
whole_setting() {
  if is_whole "$2" && ((10#$2 >= $3 && 10#$2 <= $4)); then return 0; fi
  misuse "$1 must be a whole number from $3 to $4, not \"$2\""
}

# await_api: until live and ready, for API_WAIT_SECONDS; asked at least once.
await_api() {
  local deadline
  whole_setting API_WAIT_SECONDS "$API_WAIT_SECONDS" 0 3600
  deadline=$((SECONDS + API_WAIT_SECONDS))
  until api GET /health/live && api GET /health/ready; do
    ((SECONDS < deadline)) || return 1
    sleep 1
  done
}
