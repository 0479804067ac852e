#!/usr/bin/env python3
"""The Helm chart and the Kustomize base, rendered by Helm's own engine and by kubectl, give what the plain manifests say.

    packaging.py            compare; exit 1 with what differs
    packaging.py --render   print the chart with everything switched on but custom resources, for other checks

Helm's engine comes from PyPI (helm-python-sdk: Helm itself as a library). `lookup` finds nothing, as with `helm template`.
"""

import copy
import json
import shutil
import subprocess
import sys

import yaml
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError

import objects

CHART = objects.DEPLOY / "chart"
BASE = objects.DEPLOY / "kustomize" / "base"
NAME, NAMESPACE = "api-optimizer", "production"
# What only a chart says.
OF_HELM = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart", "helm.sh/resource-policy")
EVERYTHING = {
    "operators": {"enabled": True},
    "autoscaling": {"enabled": True},
    "keda": {"enabled": True},
    "serviceMonitor": {"enabled": True},
    "podMonitor": {"enabled": True},
}
# Values that must be refused, and of what the refusal speaks.
REFUSED = [
    ({"settings": {"cache_size": 0}}, "cache_size"),
    ({"settings": {"chache_size": 10}}, "chache_size"),
    ({"settings": {"freshness": {"error_ttl_ceiling": "soon"}}}, "error_ttl_ceiling"),
    ({"dataPlane": {"concurrency": 0}}, "concurrency"),
    ({"dataPlain": {}}, "dataPlain"),
    ({"version": "blue"}, "version"),
]


def rendered(values):
    with Chart.load(str(CHART)) as chart:
        files = chart.render(values=values, name=NAME, namespace=NAMESPACE)
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [body for text in texts for body in yaml.safe_load_all(text) if body]


def by_name(bodies):
    return {(body["kind"], body["metadata"]["name"]): without_helm(body) for body in bodies}


def without_helm(body):
    """An object without what only a chart says."""
    if isinstance(body, list):
        return [without_helm(item) for item in body]
    if not isinstance(body, dict):
        return body
    kept = {key: without_helm(value) for key, value in body.items() if key not in OF_HELM}
    return {key: value for key, value in kept.items() if key != "annotations" or value}


def of(*paths):
    """The objects of plain files, each with `which` of its documents."""
    found = []
    for path in paths:
        for file in sorted(objects.DEPLOY.glob(path)):
            found += [body for body in yaml.safe_load_all(file.read_text()) if body]
    return found


def release():
    """What one release of slot `new` is in plain manifests. A claim for each slot is in the same file."""
    plain = of("deployment/staging/*.yaml", "base/cluster/network-policies.yaml", "base/once/config.yaml")
    plain += [body for body in of("base/cluster/access.yaml") if body["metadata"]["name"] == "api-optimizer"]
    plain += [body for body in of("base/cluster/state.yaml") if body["metadata"]["name"] == "api-optimizer-state-new"]
    return plain


def differences(what, got, wanted):
    got, wanted = by_name(got), by_name(wanted)
    # Both have the same recommended labels but where a plain file is applied once and knows no release.
    for kind in ("ConfigMap",):
        for found in [body for key, body in got.items() if key[0] == kind]:
            found["metadata"]["labels"] = {name: value for name, value in found["metadata"]["labels"].items() if "/" not in name}
    for key in sorted(got.keys() | wanted.keys()):
        if key not in got or key not in wanted:
            yield f"{what}: {' '.join(key)} is {'missing' if key in wanted else 'in no plain manifest'}"
        elif got[key] != wanted[key]:
            yield f"{what}: {' '.join(key)} differs: {first_difference(got[key], wanted[key])}"


def first_difference(got, wanted, path=""):
    if isinstance(got, dict) and isinstance(wanted, dict):
        for key in sorted(got.keys() | wanted.keys()):
            if got.get(key) != wanted.get(key):
                return first_difference(got.get(key), wanted.get(key), f"{path}/{key}")
    if isinstance(got, list) and isinstance(wanted, list) and len(got) == len(wanted):
        number = next(number for number, (one, other) in enumerate(zip(got, wanted)) if one != other)
        return first_difference(got[number], wanted[number], f"{path}/{number}")
    return f"{path} is {json.dumps(got)[:200]}, plain {json.dumps(wanted)[:200]}"


def chart_faults():
    yield from differences("chart", rendered({}), release())
    options = ["options/autoscaler.yaml", "options/keda.yaml", "options/service-monitor.yaml", "options/pod-monitor.yaml"]
    more = [body for body in of("base/cluster/access.yaml") if body["metadata"]["name"] != "api-optimizer"]
    yield from differences("chart with everything", rendered(EVERYTHING), release() + of(*options) + more)
    report = lint(str(CHART), namespace=NAMESPACE)
    yield from (f"helm lint: {message}" for message in messages(report))


def messages(report):
    """Warnings (2) and errors (3); that there is no icon is neither."""
    return [str(message) for message in report.get("messages") or [] if message["severity"] > 1] + report.get("errors", [])


def values_faults():
    """Values do what they say, and wrong ones are refused."""
    values = {
        "version": "stable",
        "imagePullSecrets": [{"name": "pull"}],
        "registry": "example.org/x",
        "origin": {"host": "orders", "port": 8080},
        "settings": {"breaker": {"enabled": False}},
        "dataPlane": {"replicas": 3, "image": "envoy:1@sha256:" + "0" * 64, "nodeSelector": {"disk": "ssd"}},
        "controlPlane": {"persistence": {"enabled": False}, "env": [{"name": "TIER_MEMORY_MB", "value": "64"}]},
    }
    found = by_name(rendered(values))
    data, control = found["Deployment", "api-optimizer-stable"], found["Deployment", "api-optimizer-control-stable"]
    pod, plane = data["spec"]["template"]["spec"], control["spec"]["template"]["spec"]
    env = {item["name"]: item.get("value") for item in pod["containers"][0]["env"] + plane["containers"][0]["env"]}
    wanted = {
        "replicas": (data["spec"].get("replicas"), 3),
        "image": (pod["containers"][0]["image"], "example.org/x/envoy:1@sha256:" + "0" * 64),
        "node selector": (pod["nodeSelector"], {"disk": "ssd"}),
        "pull secrets": ([pod["imagePullSecrets"], plane["imagePullSecrets"]], [[{"name": "pull"}]] * 2),
        "origin": ((env["ORIGIN_HOST"], env["ORIGIN_PORT"]), ("orders", "8080")),
        "control plane": (env["CONTROL_HOST"], "api-optimizer-stable"),
        "environment": (env["TIER_MEMORY_MB"], "64"),
        "state": ([volume for volume in plane["volumes"] if volume["name"] == "state"][0].get("emptyDir"), {"sizeLimit": "128Mi"}),
        "settings": (json.loads(found["ConfigMap", "api-optimizer-config"]["data"]["breaker"]), {"enabled": False}),
    }
    yield from (f"value of {name}: {got!r}, wanted {value!r}" for name, (got, value) in wanted.items() if got != value)
    first = by_name(rendered({})).keys()
    second = by_name(rendered({"version": "stable", "shared": {"enabled": False}, "service": {"enabled": False}})).keys()
    yield from (f"two releases in one namespace both have {' '.join(key)}" for key in first & second)
    with Chart.load(str(CHART)) as chart:
        for bad, word in REFUSED:
            try:
                chart.validate_schema(values=chart.merge_values(copy.deepcopy(bad)))
                yield f"{json.dumps(bad)} is not refused"
            except HelmError as error:
                if word not in str(error):
                    yield f"{json.dumps(bad)} is refused without a word on {word}: {error}"


def kustomize_faults():
    if not shutil.which("kubectl"):
        sys.exit("kubectl is missing (Debian: kubernetes-client)")
    built = subprocess.run(["kubectl", "kustomize", str(BASE)], capture_output=True, text=True, check=False)
    if built.returncode:
        yield f"kubectl kustomize: {built.stderr.strip()}"
        return
    yield from differences("Kustomize base", list(yaml.safe_load_all(built.stdout)), release())


def main():
    if sys.argv[1:] == ["--render"]:
        print(yaml.safe_dump_all(body for body in rendered(EVERYTHING) if body["kind"] not in objects.CUSTOM_KINDS))
        return
    faults = [*chart_faults(), *values_faults(), *kustomize_faults()]
    print(*faults, sep="\n", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
