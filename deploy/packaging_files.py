"""The Helm chart's generated templates and the Kustomize base, from the same files as the plain manifests.

A template of base/templates has hooks, lines `# >>> name` and `# <<< name`: a chart puts its own text in place of what is between them.
What is no template (base/cluster, base/once, options) is taken over with replacements, each of which must be found. `check.sh` renders
both with their defaults, and compares with the plain manifests.

Standard library only, as generate.py.
"""

import json
import re
import string
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
CHART = DEPLOY / "chart"
KUSTOMIZE = DEPLOY / "kustomize" / "base"


class Missing(Exception):
    """A hook or a text that is to be replaced is not there any more."""


# What the names of a template stand for in a chart.
NAMES = {
    "recommended": '{{ include "api-optimizer.labels" . }}',
    "pull_secrets": "",
    "secret": "{{ .Values.existingSecret }}",
    "version": "{{ .Values.version }}",
    "release": "{{ .Chart.AppVersion }}",
    "data_plane": '{{ include "api-optimizer.dataPlane" . }}',
    "control_plane": '{{ include "api-optimizer.controlPlane" . }}',
    "envoy_image": '{{ include "api-optimizer.image" (list . .Values.dataPlane.image "envoy") }}',
    "control_plane_image": '{{ include "api-optimizer.image" (list . .Values.controlPlane.image "control-plane") }}',
    "state_volume": "",
}

POD = """\
{{{{- with .Values.imagePullSecrets }}}}
imagePullSecrets: {{{{- toYaml . | nindent 8 }}}}
{{{{- end }}}}
{{{{- with .Values.{of}.nodeSelector }}}}
nodeSelector: {{{{- toYaml . | nindent 8 }}}}
{{{{- end }}}}
{{{{- with .Values.{of}.tolerations }}}}
tolerations: {{{{- toYaml . | nindent 8 }}}}
{{{{- end }}}}
{{{{- with .Values.{of}.affinity }}}}
affinity: {{{{- toYaml . | nindent 8 }}}}
{{{{- end }}}}"""
RESOURCES = "resources: {{{{- toYaml .Values.{of}.resources | nindent 12 }}}}"

# Of each template, what stands in place of a hook.
HOOKS = {
    "control-plane": {
        "pod": POD.format(of="controlPlane"),
        "resources": RESOURCES.format(of="controlPlane"),
        "env": """\
{{- if .Values.tracing.host }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://{{ .Values.tracing.host }}:{{ .Values.tracing.port }}" }
{{- end }}
{{- with .Values.controlPlane.env }}
{{- toYaml . | nindent 12 }}
{{- end }}""",
        "mounts": """\
{{- with .Values.controlPlane.volumeMounts }}
{{- toYaml . | nindent 12 }}
{{- end }}""",
        "volumes": """\
{{- with .Values.controlPlane.volumes }}
{{- toYaml . | nindent 8 }}
{{- end }}""",
        "state": """\
{{- if .Values.controlPlane.persistence.enabled }}
persistentVolumeClaim: { claimName: api-optimizer-state-{{ .Values.version }} }
{{- else }}
emptyDir: { sizeLimit: 128Mi }
{{- end }}""",
    },
    "data-plane": {
        "replicas": """\
{{- with .Values.dataPlane.replicas }}
replicas: {{ . }}
{{- end }}""",
        "pod": POD.format(of="dataPlane"),
        "concurrency": "- { name: CONCURRENCY, value: {{ .Values.dataPlane.concurrency | toString | quote }} }",
        "heap": "- { name: MAX_HEAP_BYTES, value: {{ .Values.dataPlane.maxHeapBytes | int64 | toString | quote }} }",
        "origin": """\
- { name: ORIGIN_HOST, value: {{ .Values.origin.host | quote }} }
- { name: ORIGIN_PORT, value: {{ .Values.origin.port | toString | quote }} }""",
        "tracing": """\
{{- if .Values.tracing.host }}
- { name: OTEL_HOST, value: {{ .Values.tracing.host | quote }} }
- { name: OTEL_PORT, value: {{ .Values.tracing.port | toString | quote }} }
- { name: OTEL_PERCENT, value: {{ .Values.tracing.percent | toString | quote }} }
{{- end }}""",
        "resources": RESOURCES.format(of="dataPlane"),
    },
    "service": {},
    "version-service": {},
    "disruption-budget": {},
}
# Rendered only where the values say so.
WHEN = {"service": ".Values.service.enabled"}

# Files of the chart from whole files or single documents of others: what of it, the value that switches it on, and replacements.
TAKEN = {
    "service-account.yaml": ("base/cluster/access.yaml", slice(0, 1), ".Values.shared.enabled", {}),
    "operators.yaml": (
        "base/cluster/access.yaml",
        slice(1, None),
        ".Values.operators.enabled",
        {"namespace: production": "namespace: {{ .Values.operators.namespace }}"},
    ),
    "network-policies.yaml": (
        "base/cluster/network-policies.yaml",
        slice(None),
        "and .Values.shared.enabled .Values.networkPolicies.enabled",
        {"values: [production, staging]": "values: {{ toJson .Values.operators.namespaces }}"},
    ),
    "tracing.yaml": (
        "options/tracing.yaml",
        slice(None),
        "and .Values.tracing.host .Values.shared.enabled .Values.networkPolicies.enabled",
        {"port: 4317": "port: {{ .Values.tracing.port }}"},
    ),
    "state.yaml": (
        "base/cluster/state.yaml",
        slice(0, 1),
        ".Values.controlPlane.persistence.enabled",
        {
            "name: api-optimizer-state-new\n": "name: api-optimizer-state-{{ .Values.version }}\n"
            "  annotations: { helm.sh/resource-policy: keep }\n",
            "version: new": "version: {{ .Values.version }}",
            "accessModes: [ReadWriteOnce]\n": "accessModes: [ReadWriteOnce]\n"
            "  {{- with .Values.controlPlane.persistence.storageClass }}\n  storageClassName: {{ . }}\n  {{- end }}\n",
            "storage: 1Gi": "storage: {{ .Values.controlPlane.persistence.size }}",
        },
    ),
    "autoscaler.yaml": (
        "options/autoscaler.yaml",
        slice(None),
        ".Values.autoscaling.enabled",
        {
            "kind: Deployment, name: api-optimizer }": 'kind: Deployment, name: {{ include "api-optimizer.dataPlane" . }} }',
            "minReplicas: 2": "minReplicas: {{ .Values.autoscaling.minReplicas }}",
            "maxReplicas: 10": "maxReplicas: {{ .Values.autoscaling.maxReplicas }}",
            "averageUtilization: 70": "averageUtilization: {{ .Values.autoscaling.cpuPercent }}",
        },
    ),
    "keda.yaml": (
        "options/keda.yaml",
        slice(None),
        ".Values.keda.enabled",
        {
            "scaleTargetRef: { name: api-optimizer }": 'scaleTargetRef: { name: {{ include "api-optimizer.dataPlane" . }} }',
            "minReplicaCount: 2": "minReplicaCount: {{ .Values.keda.minReplicas }}",
            "maxReplicaCount: 10": "maxReplicaCount: {{ .Values.keda.maxReplicas }}",
            "serverAddress: http://prometheus.monitoring.svc:9090": "serverAddress: {{ .Values.keda.prometheus }}",
            'threshold: "500"': "threshold: {{ .Values.keda.requestsPerSecond | toString | quote }}",
        },
    ),
    "service-monitor.yaml": ("options/service-monitor.yaml", slice(None), ".Values.serviceMonitor.enabled", {}),
    "pod-monitor.yaml": ("options/pod-monitor.yaml", slice(None), ".Values.podMonitor.enabled", {}),
}

CHART_YAML = """\
apiVersion: v2
name: api-optimizer
description: An HTTP cache and circuit breaker for Envoy, and the control plane that steers them.
type: application
version: {release}
appVersion: "{release}"
kubeVersion: ">=1.29.0-0"
keywords: [envoy, http-cache, circuit-breaker, wasm]
"""

# In the order of kubectl: what others refer to first.
KUSTOMIZED = {
    "service-account.yaml": ("base/cluster/access.yaml", slice(0, 1)),
    "network-policies.yaml": ("base/cluster/network-policies.yaml", slice(None)),
    "state.yaml": ("base/cluster/state.yaml", slice(0, 1)),
    "config.yaml": ("base/once/config.yaml", slice(None)),
}
KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
{resources}
"""


def documents(path, which):
    """Some of a file's documents. A comment before the first one belongs to it."""
    found = (DEPLOY / path).read_text().split("\n---\n")
    return "\n---\n".join(found[which]).rstrip("\n") + "\n"


def hooked(text, hooks):
    """A template with its hooks replaced."""
    for name, own in hooks.items():
        pattern = re.compile(rf"^( *)# >>> {name}\n.*?# <<< {name}\n", re.MULTILINE | re.DOTALL)
        found = pattern.search(text)
        if not found:
            raise Missing(f"a template has no hook {name}")
        lines = "".join(f"{found[1]}{line}\n" for line in own.splitlines())
        text = text[: found.start()] + lines + text[found.end() :]
    left = re.search(r"# >>> (\S+)", text)
    if left:
        raise Missing(f"the chart says nothing for the hook {left[1]}")
    return text


def replaced(text, replacements):
    for old, new in replacements.items():
        if old not in text:
            raise Missing(f"{old!r} is to be replaced for the chart, and is not there")
        text = text.replace(old, new)
    return text


def when(text, value):
    return f"{{{{- if {value} }}}}\n{text}{{{{- end }}}}\n" if value else text


def template(part):
    text = string.Template((DEPLOY / "base" / "templates" / f"{part}.yaml").read_text()).substitute(NAMES)
    return when(hooked(text, HOOKS[part]), WHEN.get(part))


def in_go(schema):
    """Helm reads patterns as Go does: without look-ahead, which then lets a little more through to the control plane's own judgement."""
    if isinstance(schema, list):
        return [in_go(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: in_go(value) for key, value in schema.items()}
    if isinstance(schema.get("pattern"), str):
        pattern = schema["pattern"].replace("\\u0085", "\\x{85}").replace("(?=[0-9])", "")
        if re.search(r"\(\?[^:]|\\u", pattern):
            raise Missing(f"Helm cannot read the pattern {pattern!r}")
        schema["pattern"] = pattern
    return schema


def values_schema():
    """The chart's own values, and the settings as the control plane judges them. Its parts are referred to from the root."""
    own = json.loads((DEPLOY / "base" / "chart-values.schema.json").read_text())
    settings = json.loads((DEPLOY / "base" / "settings.schema.json").read_text())
    own["$defs"] = settings.pop("$defs")
    settings.pop("$schema")
    own["properties"]["settings"] = settings
    return json.dumps(in_go(own), indent=1) + "\n"


def chart(header, release):
    files = {CHART / "Chart.yaml": header + CHART_YAML.format(release=release["releases"]["new"])}
    files[CHART / "values.schema.json"] = values_schema()
    for part in HOOKS:
        files[CHART / "templates" / f"{part}.yaml"] = header + template(part)
    for name, (path, which, value, replacements) in TAKEN.items():
        files[CHART / "templates" / name] = header + when(replaced(documents(path, which), replacements), value)
    return files


def kustomize(header, render):
    parts = ("service", "version-service", "control-plane", "data-plane", "disruption-budget")
    files = {KUSTOMIZE / name: header + documents(path, which) for name, (path, which) in KUSTOMIZED.items()}
    files |= {KUSTOMIZE / f"{part}.yaml": header + render(part) for part in parts}
    resources = "\n".join(f"  - {path.name}" for path in files)
    files[KUSTOMIZE / "kustomization.yaml"] = header + KUSTOMIZATION.format(resources=resources)
    return files
