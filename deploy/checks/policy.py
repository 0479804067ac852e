"""What every manifest must keep to, beyond the schemas. Each rule yields sentences about what breaks it."""

import re

from objects import CUSTOM_KINDS, RELEASES, selects

TAGGED = re.compile(r"[^:@]+(:\d+)?(/[^:@]+)*:(?!latest(@|$))[\w.-]+(@sha256:[0-9a-f]{64})?")


def images_are_pinned(objects):
    for item in objects.workloads():
        for container in item.containers:
            if not TAGGED.fullmatch(container.get("image", "")):
                yield f"{item}: image {container.get('image')!r} has no tag of its own"


def pods_are_unprivileged(objects):
    for item in objects.workloads():
        pod = item.pod
        context = pod.get("securityContext", {})
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(name):
                yield f"{item}: {name}"
        if any("hostPath" in volume for volume in pod.get("volumes", [])):
            yield f"{item}: mounts a path of the host"
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{item}: may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{item}: has no seccomp profile"
        if pod.get("automountServiceAccountToken") is not (item.name == "ops"):
            yield f"{item}: automountServiceAccountToken is for the ops pod alone, and must be said"


def containers_are_unprivileged(objects):
    for item in objects.workloads():
        for container in item.containers:
            context = container.get("securityContext", {})
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            wrong = [name for name, value in wanted.items() if context.get(name) != value]
            if context.get("privileged"):
                wrong.append("privileged")
            if wrong:
                yield f"{item}: container {container['name']}: {', '.join(wrong)}"


def containers_are_bounded(objects):
    for item in objects.workloads():
        for container in item.containers:
            for kind in ("requests", "limits"):
                missing = {"cpu", "memory"} - set(container.get("resources", {}).get(kind, {}))
                if missing:
                    yield f"{item}: container {container['name']}: no {kind} of {', '.join(sorted(missing))}"


def scratch_is_there(objects):
    """A read-only root has no /tmp; what lies in an emptyDir on disk counts against the pod's limit of ephemeral storage."""
    for item in ours(objects):
        sizes = {
            volume["name"]: mebibytes(volume["emptyDir"].get("sizeLimit", "0"))
            for volume in item.pod.get("volumes", [])
            if "emptyDir" in volume and volume["emptyDir"].get("medium") != "Memory"
        }
        limit = sum(mebibytes(container.get("resources", {}).get("limits", {}).get("ephemeral-storage", "0")) for container in item.containers)
        if not all(sizes.values()) or sum(sizes.values()) > limit:
            yield f"{item}: volumes of {sum(sizes.values())} Mi within {limit} Mi of ephemeral storage"
        if item.pod_labels.get("component") != "control-plane":
            continue
        for container in item.containers:
            volume = next((mount["name"] for mount in container.get("volumeMounts", []) if mount["mountPath"] == "/tmp"), None)
            largest = next((int(env["value"]) for env in container.get("env", []) if env["name"] == "RESTORE_MAX_MB"), 8000)
            if sizes.get(volume, 0) * 2**20 < 2 * largest * 10**6:
                yield f"{item}: container {container['name']}: no /tmp with room for two snapshots of {largest} MB"


def mebibytes(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi|)", quantity).groups()
    return int(number) * {"Gi": 1024, "Mi": 1, "": 0}[unit]


def ours(objects, under=""):
    return [item for item in objects.workloads(under) if item.pod_labels.get("app") == "api-optimizer"]


def containers_are_probed(objects):
    for item in ours(objects):
        for container in item.containers:
            missing = {"startupProbe", "readinessProbe", "livenessProbe"} - set(container)
            if missing:
                yield f"{item}: container {container['name']}: no {', '.join(sorted(missing))}"


def pods_drain(objects):
    """15 to 30 seconds, and time left for the end itself; Envoy waits for what is in flight twice, in the hook and after SIGTERM."""
    for item in ours(objects):
        grace = item.pod.get("terminationGracePeriodSeconds", 30)
        for container in item.containers:
            command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])
            seconds = int(command[-1])
            end = 22 if command[0].endswith("/drain") else 10
            if not 15 <= seconds <= 30 or grace < seconds + end:
                yield f"{item}: container {container['name']} drains {seconds} s of {grace} s"


def default_container_is_named(objects):
    for item in objects.workloads():
        name = item.at("spec", "template", "metadata", "annotations", default={}).get("kubectl.kubernetes.io/default-container")
        if name not in [container["name"] for container in item.containers]:
            yield f"{item}: default container {name!r} is none of its containers"


def config_is_mounted_whole(objects):
    """With a subPath a change of the ConfigMap would never arrive."""
    for item in ours(objects):
        for container in item.containers:
            for mount in container.get("volumeMounts", []):
                if "subPath" in mount:
                    yield f"{item}: {mount['mountPath']} is mounted by subPath"


def deployments_are_disjoint(objects):
    for folder in RELEASES:
        found = ours(objects, f"deployment/{folder}/")
        for item in found:
            selector = item.at("spec", "selector", "matchLabels", default={})
            if "version" not in selector or not selects(selector, item.pod_labels):
                yield f"{item}: its selector must name the version and match its own pods"
            for other in found:
                if other is not item and selects(selector, other.pod_labels):
                    yield f"{item}: claims the pods of {other.name}"


def changes_are_told(objects):
    for item in ours(objects, "deployment/"):
        if not item.at("metadata", "annotations", "kubernetes.io/change-cause"):
            yield f"{item}: no kubernetes.io/change-cause for rollout history"


def scaling_is_left_alone(objects):
    for item in ours(objects, "deployment/"):
        replicas = item.at("spec", "replicas")
        if item.pod_labels.get("component") == "data-plane" and replicas is not None:
            yield f"{item}: replicas would undo kubectl scale at the next apply"
        if item.pod_labels.get("component") == "control-plane" and (replicas != 1 or item.at("spec", "strategy", "type") != "Recreate"):
            yield f"{item}: the control plane is one process at a time"


def steady_state_is_small(objects):
    """kubectl logs -f takes five pods by default; one more of the data plane must fit."""
    pods = sum(item.at("spec", "replicas", default=1) for item in ours(objects, "deployment/production/"))
    if pods > 4:
        yield f"deployment/production: {pods} pods in the steady state, kubectl logs -l ... -f refuses more than 5"


def switch_is_where_it_belongs(objects):
    for folder, wanted in (("production", "stable"), ("staging", "new"), ("emergency", None)):
        found = [item for item in objects.of("Service", under=f"deployment/{folder}/") if item.name == "api-optimizer"]
        versions = [item.at("spec", "selector", "version") for item in found]
        if versions != ([wanted] if wanted else []):
            yield f"deployment/{folder}: Service api-optimizer selects {versions or 'nothing'}, expected {wanted}"


def services_lead_somewhere(objects):
    for folder in RELEASES:
        under = f"deployment/{folder}/"
        for service in objects.of("Service", under=under):
            selector = service.at("spec", "selector")
            ports = {
                port["name"]
                for item in objects.workloads(under)
                if selects(selector, item.pod_labels)
                for container in item.containers
                for port in container.get("ports", [])
            }
            for port in service.at("spec", "ports", default=[]):
                if port["targetPort"] not in ports:
                    yield f"{service}: no pod it selects has a port {port['targetPort']}"


def releases_hold_only_releases(objects):
    for item in objects.of("ConfigMap", "Secret", "PersistentVolumeClaim", "NetworkPolicy", "Namespace", *CUSTOM_KINDS, under="deployment/"):
        yield f"{item}: belongs outside the release folders"
    for item in objects.items:
        if item.at("metadata", "namespace"):
            yield f"{item}: names a namespace; -n says it"
    for item in objects.of("Secret"):
        yield f"{item}: a Secret does not belong in the repository"


def settings_are_there(objects):
    found = [item for item in objects.of("ConfigMap") if item.name == "api-optimizer-config"]
    wanted = {"cache_size": "1000", "default_ttl": "5m", "max_connections": "20"}
    if [item.at("data") for item in found] != [wanted]:
        yield f"ConfigMap api-optimizer-config must be there once, with {wanted}"


def isolation_replaces(objects):
    """Policies add up: a closed one beside an open one closes nothing."""
    ordinary = {item.name for item in objects.of("NetworkPolicy", under="base/cluster/")}
    closed = objects.of("NetworkPolicy", under="security/")
    if {item.name for item in closed} != ordinary:
        yield f"security/: the emergency policies must bear the names of the ordinary ones: {sorted(ordinary)}"
    for item in closed:
        wanted = {"podSelector": {"matchLabels": {"app": "api-optimizer"}}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []}
        if item.at("spec") != wanted:
            yield f"{item}: leaves something open"


def rights_are_few(objects):
    for item in objects.of("ClusterRole", "ClusterRoleBinding"):
        yield f"{item}: rights in the whole cluster"
    for item in objects.of("Role"):
        for rule in item.at("rules", default=[]):
            if "*" in rule["verbs"] + rule["resources"] + rule["apiGroups"]:
                yield f"{item}: a rule with *"
            if "secrets" in rule["resources"] and set(rule["verbs"]) - {"create"} and "resourceNames" not in rule:
                yield f"{item}: reads or changes every Secret"


def roles_name_what_exists(objects):
    deployments = {item.name for item in ours(objects, "deployment/")}
    services = {item.name for item in objects.of("Service", under="deployment/")}
    policies = {item.name for item in objects.of("NetworkPolicy", under="base/cluster/")}
    known = {"deployments": deployments, "networkpolicies": policies}
    for item in objects.of("Role", under="base/cluster/"):
        for rule in item.at("rules", default=[]):
            names = set(rule.get("resourceNames", []))
            for resource, existing in known.items():
                if resource in rule["resources"] and names and names != existing:
                    yield f"{item}: {resource} {sorted(names ^ existing)}"
            if "services" in rule["resources"] and names - services:
                yield f"{item}: services {sorted(names - services)}"


def control_planes_touch_one_config_map(objects):
    """The rights of a control plane at the API server end at the object it follows."""
    allowed = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["api-optimizer-config"], "verbs": ["get", "list", "watch", "patch"]}]
    found = [item.at("rules") for item in objects.of("Role") if item.name == "api-optimizer-config-map"]
    if found != [allowed]:
        yield f"Role api-optimizer-config-map must be there once, and allow no more than {allowed}"


RULES = [
    images_are_pinned,
    pods_are_unprivileged,
    containers_are_unprivileged,
    containers_are_bounded,
    scratch_is_there,
    containers_are_probed,
    pods_drain,
    default_container_is_named,
    config_is_mounted_whole,
    deployments_are_disjoint,
    changes_are_told,
    scaling_is_left_alone,
    steady_state_is_small,
    switch_is_where_it_belongs,
    services_lead_somewhere,
    releases_hold_only_releases,
    settings_are_there,
    isolation_replaces,
    rights_are_few,
    roles_name_what_exists,
    control_planes_touch_one_config_map,
]


def findings(objects):
    return [f"{sentence} ({rule.__name__})" for rule in RULES for sentence in rule(objects)]
