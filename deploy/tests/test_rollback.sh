#!/usr/bin/env bash
# emergency-rollback.sh and rollback.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

emergency=(scripts/emergency-rollback.sh)
export ROLLBACK_SECONDS=5

# The API is down from beginning to end.
export API_OPTIMIZER_URL=http://127.0.0.1:9
new_cluster new
good 'from new to stable with the API down' "${emergency[@]}"
check 'traffic is on stable' test "$(traffic)" = stable
check 'it says so' matches "$OUT" 'new -> stable'
good 'again, already on stable' "${emergency[@]}"
check 'nothing is patched then' matches "$OUT" 'already'

new_cluster new
faults 'refuse patch services'
bad 'the patch is refused' 'refused, traffic stays on new' "${emergency[@]}"
check 'traffic stays' test "$(traffic)" = new

new_cluster new
rm "$KUBE_STATE/production/deployments/"*stable.json
bad 'there is no stable' 'no Deployment of version stable' "${emergency[@]}"
check 'traffic stays' test "$(traffic)" = new

new_cluster new
kubectl scale deployment api-optimizer-stable --replicas=0 >/dev/null
good 'stable was scaled to zero' "${emergency[@]}"
check 'it is started' matches "$OUT" 'starting api-optimizer-stable'
check 'traffic is on stable' test "$(traffic)" = stable

new_cluster new
kubectl patch service api-optimizer --type=json -p '[{"op": "remove", "path": "/spec/selector/version"}]' >/dev/null
bad 'the Service selects no version' 'selects no version' "${emergency[@]}"

new_cluster new
faults unreachable
bad 'no API server' 'connection to the server' "${emergency[@]}"

bad 'wrong use' 'unknown argument' "${emergency[@]}" now
bad 'no kubectl' 'kubectl is missing' env PATH="$(without kubectl)" "${emergency[@]}"

# The same with a short deadline: what never becomes ready is waited for in vain.
start_api
new_cluster new
good 'after a failed deployment' scripts/rollback.sh
check 'traffic is on stable' test "$(traffic)" = stable

new_cluster new
faults 'unready stable'
bad 'stable has no ready pod, new has' 'nothing was switched' scripts/rollback.sh
check 'traffic stays' test "$(traffic)" = new

new_cluster new
faults 'unready stable' 'unready new'
bad 'nobody has a ready pod: switched, and told' 'no ready pod behind it' scripts/rollback.sh
check 'traffic is on stable' test "$(traffic)" = stable

new_cluster new
faults 'frozen-endpoints new'
bad 'the endpoints do not follow' 'still answered by' scripts/rollback.sh

new_cluster new
state '{"ready": false}'
bad 'the API is not ready afterwards' 'its API fails' scripts/rollback.sh
good 'the API is not asked' scripts/rollback.sh --no-api
finish
