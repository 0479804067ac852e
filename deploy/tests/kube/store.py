"""Objects as JSON files: STATE/NAMESPACE/KINDS/NAME.json, the way an API server would hold them."""

import hashlib
import json
import os
import time
from pathlib import Path

# What people type -> plural, kind.
KINDS = {
    "pods": ("Pod", "v1", ("pod", "po")),
    "services": ("Service", "v1", ("service", "svc")),
    "configmaps": ("ConfigMap", "v1", ("configmap", "cm")),
    "secrets": ("Secret", "v1", ("secret",)),
    "events": ("Event", "v1", ("event", "ev")),
    "namespaces": ("Namespace", "v1", ("namespace", "ns")),
    "serviceaccounts": ("ServiceAccount", "v1", ("serviceaccount", "sa")),
    "persistentvolumeclaims": ("PersistentVolumeClaim", "v1", ("persistentvolumeclaim", "pvc")),
    "endpoints": ("Endpoints", "v1", ("endpoint", "ep")),
    "endpointslices": ("EndpointSlice", "discovery.k8s.io/v1", ("endpointslice",)),
    "deployments": ("Deployment", "apps/v1", ("deployment", "deploy")),
    "replicasets": ("ReplicaSet", "apps/v1", ("replicaset", "rs")),
    "networkpolicies": ("NetworkPolicy", "networking.k8s.io/v1", ("networkpolicy", "netpol")),
    "poddisruptionbudgets": ("PodDisruptionBudget", "policy/v1", ("poddisruptionbudget", "pdb")),
    "roles": ("Role", "rbac.authorization.k8s.io/v1", ("role",)),
    "rolebindings": ("RoleBinding", "rbac.authorization.k8s.io/v1", ("rolebinding",)),
}
CLUSTER_WIDE = {"namespaces"}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Refusal(Exception):
    """What the API server says no with."""


def plural_of(word):
    word = word.split(".")[0].lower()
    for plural, (kind, _, aliases) in KINDS.items():
        if word == plural or word in aliases or word == kind.lower():
            return plural
    raise Refusal(f'error: the server doesn\'t have a resource type "{word}"')


def group_name(plural):
    version = KINDS[plural][1]
    return f"{plural}.{version.split('/')[0]}" if "/" in version else plural


class Store:
    def __init__(self, root):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def path(self, namespace, plural, name):
        place = "_cluster" if plural in CLUSTER_WIDE else namespace
        return self.root / place / plural / f"{name}.json"

    def find(self, namespace, plural, name):
        try:
            return json.loads(self.path(namespace, plural, name).read_text())
        except FileNotFoundError:
            return None

    def all(self, namespace, plural):
        folder = self.path(namespace, plural, "x").parent
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

    def next_version(self):
        counter = self.root / "resource-version"
        number = int(counter.read_text()) + 1 if counter.exists() else 1000
        counter.write_text(str(number))
        return str(number)

    def put(self, namespace, plural, wanted):
        """Stores and returns it; what the server owns is set here."""
        name = wanted["metadata"]["name"]
        present = self.find(namespace, plural, name)
        if present is not None and without_version(present) == without_version(wanted):
            return present, False
        metadata = wanted["metadata"]
        metadata["resourceVersion"] = self.next_version()
        if present is None:
            seed = f"{namespace}/{plural}/{name}/{metadata['resourceVersion']}".encode()
            metadata["uid"] = hashlib.sha256(seed).hexdigest()[:32]
            metadata["creationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if plural not in CLUSTER_WIDE:
            metadata["namespace"] = namespace
        path = self.path(namespace, plural, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(wanted, indent=1))
        beside.rename(path)
        return wanted, True

    def faults(self):
        """Lines of STATE/faults, as lists of words."""
        path = self.root / "faults"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split() for line in lines if line.strip()]

    def refuses(self, verb, plural, name):
        """`refuse VERB KINDS[/NAME]` in the faults; * stands for any."""
        for fault in self.faults():
            if len(fault) == 3 and fault[0] == "refuse" and fault[1] in ("*", verb):
                kind, _, wanted = fault[2].partition("/")
                if kind in ("*", plural) and wanted in ("", name):
                    return True
        return False


def without_version(thing):
    copied = json.loads(json.dumps(thing))
    for key in ("resourceVersion", "uid", "creationTimestamp", "namespace"):
        copied.get("metadata", {}).pop(key, None)
    return copied


def matches(selector, labels):
    """`a=b,c!=d,e` against labels."""
    for term in filter(None, (selector or "").split(",")):
        key, sign, value = term.partition("!=")
        if sign:
            if labels.get(key) == value:
                return False
            continue
        key, sign, value = term.replace("==", "=").partition("=")
        if key not in labels or (sign and labels[key] != value):
            return False
    return True
