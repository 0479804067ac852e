#!/usr/bin/env python3
"""Rules and dashboards ask only for metrics and alerts that exist, and lead to places that exist.

    queries.py              names against the source and the recorded list
    queries.py --list       the names that are known, one a line
"""

import json
import re
import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parent.parent
REPOSITORY = DEPLOY.parent
DASHBOARDS = {"system-overview", "performance", "cache-metrics", "alert-status"}
# Prometheus's own series.
BUILT_IN = {"up", "ALERTS", "ALERTS_FOR_STATE"}
# Of the kubelets, for options/kubelet.rules.yml alone.
KUBELET = {
    "container_cpu_usage_seconds_total",
    "container_spec_cpu_quota",
    "container_spec_cpu_period",
    "kubelet_volume_stats_used_bytes",
    "kubelet_volume_stats_capacity_bytes",
}
QUOTED_NAME = re.compile(r'"((?:api_optimizer|process)_[a-z0-9_]+)"')
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_:]*")
# What the Prometheus library's process collector exposes on Linux.
PROCESS = {
    "process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_virtual_memory_bytes", "process_resident_memory_bytes",
    "process_start_time_seconds", "process_threads",
}  # fmt: skip
FUNCTION_OR_KEYWORD = set(
    """and or unless by without on ignoring group_left group_right offset bool sum max min avg count topk rate increase vector absent
    clamp_min clamp_max histogram_quantile label_replace label_values round""".split()
)


def from_source(*folders):
    """The names as string literals of the code that exposes them."""
    names = set()
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.rs")):
            text = path.read_text()
            names |= set(QUOTED_NAME.findall(text))
            if "ProcessCollector::" in text:
                names |= PROCESS
    return names


def from_envoy():
    """Recorded from a running Envoy; a histogram has three series."""
    names = set()
    for line in (DEPLOY / "prometheus" / "envoy-metrics.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, kind = line.split()
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def rule_files():
    return [*sorted((DEPLOY / "alerts").glob("*.rules.yml")), DEPLOY / "options" / "kubelet.rules.yml"]


def rules():
    for path in rule_files():
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield path.relative_to(DEPLOY), rule


def dashboards():
    for path in sorted((DEPLOY / "dashboards").glob("*.json")):
        yield path, json.loads(path.read_text())


def expressions(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def names_in(expression):
    """Names of metrics: what is left of an expression without strings, label lists, ranges and words of the language."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^{}]*\}", " ", bare)
    bare = re.sub(r"\[[^\[\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)", " ", bare)
    bare = re.sub(r"\boffset\s+\w+", " ", bare)
    return {word for word in WORD.findall(bare) if word not in FUNCTION_OR_KEYWORD}


def known():
    recorded = {rule["record"] for _, rule in rules() if "record" in rule}
    return from_source("control-plane", "filter") | from_envoy() | recorded | BUILT_IN


def unknown_names():
    exist = known()
    for file, rule in rules():
        allowed = exist | (KUBELET if file.parts[0] == "options" else set())
        for name in sorted(names_in(rule["expr"]) - allowed):
            yield f"{file}: {rule.get('alert') or rule.get('record')}: there is no metric {name}"
    for path, dashboard in dashboards():
        for title, expression in expressions(dashboard):
            for name in sorted(names_in(expression) - exist):
                yield f"dashboards/{path.name}: {title}: there is no metric {name}"


def dashboard_faults():
    found = {path.stem: dashboard for path, dashboard in dashboards()}
    if set(found) != DASHBOARDS:
        yield f"dashboards: {sorted(found)}, expected {sorted(DASHBOARDS)}"
    for name, dashboard in found.items():
        if dashboard["uid"] != name:
            yield f"dashboards/{name}.json: uid {dashboard['uid']!r}; the runbook links {name!r}"
        identifiers = [panel["id"] for panel in dashboard["panels"]]
        if len(set(identifiers)) != len(identifiers) or not identifiers:
            yield f"dashboards/{name}.json: panels need ids of their own"
        for title, expression in expressions(dashboard):
            if "namespace" not in expression:
                yield f"dashboards/{name}.json: {title}: mixes the environments"


def alert_faults():
    severities = {"warning", "critical"}
    for file, rule in rules():
        if "alert" not in rule:
            continue
        if rule["labels"].get("severity") not in severities or rule["labels"].get("sev") not in set("0123"):
            yield f"{file}: {rule['alert']}: severity must be warning or critical, sev 0 to 3"
        if not rule["annotations"].get("summary") or not rule["annotations"].get("runbook", "").startswith("RUNBOOK.md#"):
            yield f"{file}: {rule['alert']}: needs a summary and a place in the runbook"


def anchor(heading):
    """As Git hosts make them: lower case, blanks to dashes, other signs gone."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("*", "")).strip().replace(" ", "-")


def anchor_faults():
    """Where an alert sends the engineer, once the runbook is there."""
    runbook = DEPLOY / "RUNBOOK.md"
    if not runbook.is_file():
        return
    anchors = {anchor(line.lstrip("#")) for line in runbook.read_text().splitlines() if line.startswith("#")}
    for file, rule in rules():
        place = rule.get("annotations", {}).get("runbook", "#").split("#", 1)[1]
        if place and place not in anchors:
            yield f"{file}: {rule['alert']}: RUNBOOK.md has no heading #{place}"


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(sorted(known())))
        return
    wrong = [*unknown_names(), *dashboard_faults(), *alert_faults(), *anchor_faults()]
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
