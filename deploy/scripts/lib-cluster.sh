# shellcheck shell=bash
# What the scripts know about the cluster; sourced after lib.sh.
#
# A version (stable, new, emergency) is every Deployment labelled app=api-optimizer,version=VERSION: data plane and control
# plane. The Service api-optimizer sends traffic to the version its selector names.

SERVICE=api-optimizer
APP=app=api-optimizer

# The version that traffic goes to, into $VERSION.
VERSION=
service_version() {
  must_kube get service "$SERVICE" -o json
  VERSION=$(pick '.spec.selector.version | strings | select(. != "")') \
    || die "Service $SERVICE in $NAMESPACE selects no version: apply deployment/production/ first"
}

# deployments_of VERSION: into $ANSWER, as a list; fails when there are none.
deployments_of() {
  kube get deployments -l "$APP,version=$1" -o json || return 1
  REASON="there is no Deployment of version $1 in $NAMESPACE"
  pick '.items | length > 0' >/dev/null
}

# Names of those in $ANSWER without a ready pod.
without_ready_pods() { jq -r '[.items[] | select((.status.readyReplicas // 0) < 1) | .metadata.name] | join(", ")' "$ANSWER"; }

# Names of the pods that the Service sends traffic to, one a line, into $BEHIND.
BEHIND=
ready_endpoints() {
  kube get endpointslices -l "kubernetes.io/service-name=$SERVICE" -o json || return 1
  BEHIND=$(jq -r '[.items[].endpoints[]? | select(.conditions.ready != false) | .targetRef.name // empty] | unique[]' "$ANSWER")
}

# within DEADLINE: whether there is time left; bounds the kubectl calls that follow by it.
within() {
  local left=$(($1 - SECONDS))
  ((left > 0)) || return 1
  export KUBE_TIMEOUT=$((left < 5 ? left : 5))
}

# traffic_to_stable SECONDS: switches the Service and waits until only ready pods of stable are behind it.
traffic_to_stable() {
  local deadline=$((SECONDS + $1))
  within "$deadline" || die "no time given"
  service_version
  bring_up_stable "$deadline"
  if [[ $VERSION == stable ]]; then
    say "Service $SERVICE is on stable already"
  else
    within "$deadline" || die "the cluster is too slow: traffic stays on $VERSION"
    kube patch service "$SERVICE" --type=json \
      -p '[{"op": "replace", "path": "/spec/selector/version", "value": "stable"}]' \
      || die "the switch to stable was refused, traffic stays on $VERSION: $REASON"
    say "Service $SERVICE: $VERSION -> stable"
  fi
  await_stable_endpoints "$deadline"
}

# Starts what of stable was scaled to zero, waits for it, and refuses a switch that would leave nobody to answer.
bring_up_stable() {
  local deadline=$1 name asleep waiting
  deployments_of stable || die "$REASON: traffic stays on $VERSION"
  asleep=$(jq -r '.items[] | select(.spec.replicas == 0) | .metadata.name' "$ANSWER")
  waiting=$(without_ready_pods)
  for name in $asleep; do
    say "starting $name, which was scaled to zero"
    kube scale deployment "$name" --replicas=1 || die "cannot start $name: $REASON; traffic stays on $VERSION"
  done
  # Leaves time for the switch itself and for its check.
  while [[ -n $waiting ]] && within $((deadline - 10)); do
    sleep 1
    deployments_of stable || break
    waiting=$(without_ready_pods)
  done
  [[ -n $waiting && $VERSION != stable ]] || return 0
  within "$deadline" || die "no ready pod of $waiting: nothing was switched, traffic stays on $VERSION"
  ready_endpoints || die "$REASON"
  [[ -z $BEHIND ]] || die "no ready pod of $waiting: nothing was switched, traffic stays on $VERSION, which has ready pods"
}

await_stable_endpoints() {
  local deadline=$1 strangers why='no answer in time'
  while within "$deadline"; do
    why=
    if ready_endpoints && kube get pods -l "$APP,version=stable" -o json; then
      strangers=$(jq -r --arg behind "$BEHIND" '($behind | split("\n")) - [.items[].metadata.name] - [""] | join(", ")' "$ANSWER")
      if [[ -n $BEHIND && -z $strangers ]]; then
        say "answered by: ${BEHIND//$'\n'/ }"
        return 0
      fi
      why=${strangers:+still answered by $strangers}
    fi
    why=${why:-${REASON:-no ready pod behind it}}
    sleep 0.5
  done
  die "Service $SERVICE selects stable, but: $why"
}

# await_rollout VERSION SECONDS: every Deployment of the version is rolled out, with ready pods.
await_rollout() {
  local deadline=$((SECONDS + $2)) left name names waiting
  deployments_of "$1" || die "$REASON"
  names=$(jq -r '.items[].metadata.name' "$ANSWER")
  for name in $names; do
    left=$((deadline > SECONDS ? deadline - SECONDS : 1))
    KUBE_TIMEOUT=$((left + 5)) kube rollout status "deployment/$name" --timeout="${left}s" \
      || die "$name is not rolled out: $REASON"
  done
  deployments_of "$1" || die "$REASON"
  waiting=$(without_ready_pods)
  [[ -z $waiting ]] || die "no ready pod of $waiting"
}
