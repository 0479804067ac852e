#!/usr/bin/env bash
# quick-health-check.sh, health-check.sh and daily-maintenance.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

new_cluster new
dead=http://127.0.0.1:9
critical='[{"id": "1", "name": "error_rate", "severity": "critical", "state": "firing", "summary": "errors above 5 %"}]'
warning='[{"id": "2", "name": "cpu_usage", "severity": "warning", "state": "firing"}]'

for script in scripts/quick-health-check.sh scripts/daily-maintenance.sh 'scripts/health-check.sh production' 'scripts/health-check.sh staging'; do
  read -ra command <<<"$script"
  fresh
  good "$script: all is well" "${command[@]}"
  state '{"health": {"status": "degraded"}, "alerts": '"$warning"'}'
  good "$script: degraded, with a warning" "${command[@]}"
  check "$script: the alert is shown" matches "$OUT" 'warning cpu_usage'
  fresh '{"health": {"status": "unhealthy"}}'
  bad "$script: unhealthy" 'unhealthy' "${command[@]}"
  fresh '{"performance": {"error_rate": null}}'
  bad "$script: a figure is missing" 'no number .error_rate' "${command[@]}"
  fresh '{"alerts": {"status": 500}}'
  bad "$script: alerts are no list" 'is no list' "${command[@]}"
  fresh '{"failing": {"GET /metrics/performance": 500}}'
  bad "$script: an endpoint fails" 'answered 500 failing: It fails' "${command[@]}"
  bad "$script: nobody answers" 'does not answer' env API_OPTIMIZER_URL=$dead API_OPTIMIZER_STAGING_URL=$dead "${command[@]}"
  bad "$script: no jq" 'jq is missing' env PATH="$(without jq)" "${command[@]}"
done

for script in scripts/quick-health-check.sh 'scripts/health-check.sh production'; do
  read -ra command <<<"$script"
  fresh '{"live": false}'
  bad "$script: not live" 'health/live answered 503' "${command[@]}"
  fresh '{"ready": false}'
  bad "$script: not ready" 'health/ready answered 503' "${command[@]}"
  fresh '{"performance": {"error_rate": 7.5}}'
  bad "$script: too many errors" 'error rate 7.5 % is above 5 %' "${command[@]}"
  good "$script: another limit" env MAX_ERROR_RATE=10 "${command[@]}"
  fresh '{"performance": {"p95_latency": 80}}'
  bad "$script: too slow" 'P95 latency 80 ms is above 50 ms' "${command[@]}"
  fresh '{"performance": {"circuit_breaker_state": "open"}, "alerts": '"$critical"'}'
  good "$script: an upstream's trouble is told" "${command[@]}"
  check "$script: the breaker" matches "$OUT" 'circuit breaker is open'
  bad "$script: a limit that is none" 'MAX_P95_MS must be a number' env MAX_P95_MS=fast "${command[@]}"
done

fresh '{"alerts": '"$critical"'}'
bad 'daily: a critical alert fires' 'critical alerts fire: error_rate' scripts/daily-maintenance.sh
fresh '{"system": {"cpu_usage_percent": null}}'
bad 'daily: a null' 'no number .cpu_usage_percent' scripts/daily-maintenance.sh

fresh
faults 'unready new'
bad 'health-check: the new pods are not ready' 'not rolled out' env ROLLOUT_SECONDS=1 scripts/health-check.sh production
no_faults
# The old pods, behind api-optimizer, are well; the new ones are not.
bad 'health-check: asks the new pods' 'does not answer' env API_OPTIMIZER_NEW_URL=$dead scripts/health-check.sh production
bad 'health-check: wrong environment' 'unknown environment "prod"' scripts/health-check.sh prod
bad 'health-check: no environment' 'which environment?' scripts/health-check.sh
rm "$KUBE_STATE"/production/deployments/api-optimizer.json "$KUBE_STATE"/production/deployments/api-optimizer-control.json
bad 'health-check: nothing is deployed' 'no Deployment of version new' scripts/health-check.sh production
faults unreachable
bad 'health-check: no cluster' 'connection to the server' scripts/health-check.sh production

fresh '{"token": "t0p"}'
printf 't0p\n' >"$WORK/token"
good 'a token file' env API_OPTIMIZER_TOKEN_FILE="$WORK/token" scripts/quick-health-check.sh
bad 'none' 'answered 401' scripts/quick-health-check.sh
bad 'a token file that is not there' 'API_OPTIMIZER_TOKEN_FILE' env API_OPTIMIZER_TOKEN_FILE="$WORK/none" scripts/quick-health-check.sh
# The ops pod: nothing but the image's .curlrc and the netrc of the Secret, both with other places; every name that a script calls is there.
new_cluster new
mkdir "$WORK/image"
netrc() { sed -n '/^  netrc: |$/,/^  [^ ]/s/^    //p' base/once/secrets.yaml.template | sed 's/<the token of ops[^>]*>/t0p/'; }
netrc >"$WORK/netrc"
sed "s#/run/api-optimizer/netrc#$WORK/netrc#" "$DEPLOY/docker/ops/.curlrc" >"$WORK/image/.curlrc"
check 'the .curlrc has another netrc here' grep -q "$WORK/netrc" "$WORK/image/.curlrc"
mapfile -t services < <(kubectl get services -n production -o json | jq -r '.items[].metadata.name | select(endswith("-pods") | not)')
mapfile -t -O ${#services[@]} services < <(kubectl get services -n staging -o json | jq -r '.items[].metadata.name | select(endswith("-pods") | not) + ".staging"')
services+=(api-optimizer-emergency)
check 'services of both namespaces' test ${#services[@]} = 6
for name in "${services[@]}" elsewhere; do
  printf 'connect-to = "%s:8080:127.0.0.1:%s"\n' "$name" "${API_OPTIMIZER_URL##*:}"
done >>"$WORK/image/.curlrc"
pod=(env -u API_OPTIMIZER_URL -u API_OPTIMIZER_STAGING_URL CURL_HOME="$WORK/image")
for name in "${services[@]}"; do
  good "the token is shown to $name" "${pod[@]}" curl -fsS -o /dev/null "http://$name:8080/health"
done
run "${pod[@]}" curl -fsS "http://elsewhere:8080/health"
check 'and to nobody else' test "$STATUS" = 22
for command in 'scripts/quick-health-check.sh' 'scripts/health-check.sh production' 'scripts/health-check.sh staging' scripts/daily-maintenance.sh; do
  read -ra command <<<"$command"
  good "in the ops pod: ${command[*]}" "${pod[@]}" "${command[@]}"
done
: >"$WORK/netrc"
bad 'in the ops pod, without its netrc' 'answered 401' "${pod[@]}" scripts/quick-health-check.sh
finish
