# shellcheck shell=bash
# What a manifest or a running pod may not have; sourced after lib.sh.

# policy_findings FILE: one line for each, of the objects in it (documents in a row, or a list).
policy_findings() {
  jq -rs '
    def pod_spec: if .kind == "Pod" then .spec else .spec.template.spec? end;
    def of_container($pod): .securityContext as $own
      | (if $own.privileged then "is privileged" else empty end),
        (if $own.allowPrivilegeEscalation != false then "may gain privileges" else empty end),
        (if $own.readOnlyRootFilesystem != true then "may write to its root filesystem" else empty end),
        (if ($own.runAsNonRoot // $pod.securityContext.runAsNonRoot) != true then "may run as root" else empty end),
        (if ($own.capabilities.drop // []) | index("ALL") | not then "keeps capabilities" else empty end),
        (if ($own.seccompProfile.type // $pod.securityContext.seccompProfile.type // "Unconfined") == "Unconfined"
          then "has no seccomp profile" else empty end),
        (if .resources.limits.memory then empty else "has no memory limit" end),
        (if .image | test("@sha256:[0-9a-f]{64}$") or (test(":[^/:@]+$") and (endswith(":latest") | not)) then empty
          else "has an image that can change under its name: \(.image)" end);
    def of_pod: . as $pod
      | (if .hostNetwork or .hostPID or .hostIPC then "shares a namespace of the host" else empty end),
        (if any(.volumes[]?; .hostPath) then "mounts a path of the host" else empty end),
        (((.initContainers // []) + .containers)[] | "container \(.name) " + of_container($pod));
    def of_secret: if .kind == "Secret" and ((.data // {}) + (.stringData // {}) != {}) then "holds secrets in a file" else empty end;
    .[] | if .items then .items[] else . end
    | "\(.kind) \(.metadata.name)" as $name
    | ((pod_spec // empty | of_pod), of_secret) | "\($name): \(.)"' "$1"
}
