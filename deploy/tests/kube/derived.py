"""What controllers would make of the stored objects: pods, their readiness, endpoints."""

import hashlib
import json

from .store import matches


def unready_versions(store):
    return {fault[1] for fault in store.faults() if fault[0] == "unready" and len(fault) > 1}


def pods(store, namespace):
    """Those of the Deployments, and those that a test put there itself."""
    made = list(store.all(namespace, "pods"))
    for deployment in store.all(namespace, "deployments"):
        for number in range(deployment["spec"].get("replicas", 1)):
            made.append(pod(store, namespace, deployment, number))
    return sorted(made, key=lambda item: item["metadata"]["name"])


def pod(store, namespace, deployment, number):
    template = deployment["spec"]["template"]
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]
    labels = template["metadata"].get("labels", {})
    ready = labels.get("version") not in unready_versions(store)
    containers = template["spec"]["containers"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{digest}-{number}",
            "namespace": namespace,
            "labels": labels,
            "annotations": template["metadata"].get("annotations", {}),
            "resourceVersion": "1",
            "uid": f"{digest}-{number}",
            "creationTimestamp": deployment["metadata"]["creationTimestamp"],
        },
        "spec": template["spec"],
        "status": {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [
                {"name": container["name"], "ready": ready, "restartCount": 0, "image": container["image"]} for container in containers
            ],
        },
    }


def is_ready(item):
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in item["status"].get("conditions", []))


def with_status(store, namespace, deployment):
    wanted = deployment["spec"].get("replicas", 1)
    labels = deployment["spec"]["template"]["metadata"].get("labels", {})
    ready = 0 if labels.get("version") in unready_versions(store) else wanted
    status = {"observedGeneration": 1, "replicas": wanted, "updatedReplicas": wanted}
    if ready:
        # Zero is left out, as the API server does.
        status.update(readyReplicas=ready, availableReplicas=ready)
    return {**deployment, "status": status}


def selected(store, namespace, service):
    selector = ",".join(f"{key}={value}" for key, value in (service["spec"].get("selector") or {}).items())
    if not selector:
        return []
    frozen = [fault[1] for fault in store.faults() if fault[0] == "frozen-endpoints" and len(fault) > 1]
    if frozen and service["metadata"]["name"] == "api-optimizer":
        selector = f"app=api-optimizer,version={frozen[0]}"
    return [item for item in pods(store, namespace) if matches(selector, item["metadata"]["labels"])]


def endpoint_slices(store, namespace):
    return [endpoint_slice(store, namespace, service) for service in store.all(namespace, "services")]


def endpoint_slice(store, namespace, service):
    name = service["metadata"]["name"]
    behind = selected(store, namespace, service)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-x7k2p", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [item["status"]["podIP"]],
                "conditions": {"ready": is_ready(item), "serving": is_ready(item), "terminating": False},
                "targetRef": {"kind": "Pod", "name": item["metadata"]["name"]},
            }
            for item in behind
        ] or None,
        "ports": [{"name": port.get("name", ""), "port": port["port"]} for port in service["spec"].get("ports", [])],
    }


def endpoints(store, namespace):
    made = []
    for service in store.all(namespace, "services"):
        behind = selected(store, namespace, service)
        addresses = {
            key: [{"ip": item["status"]["podIP"], "targetRef": {"kind": "Pod", "name": item["metadata"]["name"]}} for item in group]
            for key, group in (
                ("addresses", [item for item in behind if is_ready(item)]),
                ("notReadyAddresses", [item for item in behind if not is_ready(item)]),
            )
            if group
        }
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {"name": service["metadata"]["name"], "namespace": namespace},
                "subsets": [addresses] if addresses else [],
            }
        )
    return made


def listing(store, namespace, plural):
    if plural == "pods":
        return pods(store, namespace)
    if plural == "endpointslices":
        return endpoint_slices(store, namespace)
    if plural == "endpoints":
        return endpoints(store, namespace)
    if plural == "deployments":
        return [with_status(store, namespace, item) for item in store.all(namespace, plural)]
    return store.all(namespace, plural)
