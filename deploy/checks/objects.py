"""The Kubernetes objects of this folder, as read from their files."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parent.parent
RELEASES = ("production", "staging", "emergency")
# No objects of a cluster: rules of Prometheus, and patches.
NOT_OBJECTS = ("options/kubelet.rules.yml", "options/notify-patch.yaml", "options/config-map-patch.yaml")
# Of custom resource definitions, which the schemas of Kubernetes do not have.
CUSTOM = ("service-monitor.yaml", "pod-monitor.yaml", "keda.yaml", "certificates.yaml", "argo-rollouts.yaml")
CUSTOM_KINDS = ("ServiceMonitor", "PodMonitor", "ScaledObject", "Issuer", "Certificate", "Rollout", "AnalysisTemplate")


@dataclass
class Item:
    """One object and the file it is in, relative to this folder."""

    file: str
    body: dict

    @property
    def kind(self):
        return self.body["kind"]

    @property
    def name(self):
        return self.body["metadata"]["name"]

    def __str__(self):
        return f"{self.file}: {self.kind} {self.name}"

    def at(self, *path, default=None):
        """What stands at a path, or the default where the path ends early."""
        value = self.body
        for step in path:
            if not isinstance(value, dict) or step not in value:
                return default
            value = value[step]
        return value

    @property
    def pod(self):
        return self.at("spec", "template", "spec")

    @property
    def containers(self):
        return (self.pod.get("initContainers") or []) + self.pod["containers"] if self.pod else []

    @property
    def pod_labels(self):
        return self.at("spec", "template", "metadata", "labels", default={})


@dataclass
class Objects:
    """All of them."""

    items: list = field(default_factory=list)

    def of(self, *kinds, under=""):
        return [item for item in self.items if item.kind in kinds and item.file.startswith(under)]

    def workloads(self, under=""):
        return [item for item in self.items if item.pod and item.file.startswith(under)]


def files(deploy=DEPLOY):
    folders = [*(f"deployment/{name}" for name in RELEASES), "base", "base/cluster", "base/once", "security", "options"]
    found = [path for folder in folders for path in sorted((deploy / folder).glob("*.y*ml"))]
    return [path for path in found if str(path.relative_to(deploy)) not in NOT_OBJECTS]


def read(deploy=DEPLOY):
    objects = Objects()
    for path in files(deploy):
        for body in yaml.safe_load_all(path.read_text()):
            objects.items.append(Item(str(path.relative_to(deploy)), body))
    return objects


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in (selector or {}).items())
