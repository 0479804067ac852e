#!/usr/bin/env python3
"""Asks every query of rules and dashboards of a real Prometheus that scrapes a running control plane and a running Envoy.

    live.py CONTROL_PLANE ENVOY [SECONDS]     e.g. localhost:8080 localhost:9901 30

Starts a Prometheus of its own on a free port, with prometheus/standalone.yml and the rules, and stops it again. Exit 1 when a query
is refused, a target does not answer, or a metric that is always there is absent. PROMETHEUS names another binary.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True

import queries  # noqa: E402

DEPLOY = queries.DEPLOY
# There from the first scrape on, whatever the traffic.
ALWAYS = [
    'api_optimizer_requests_total{outcome="hit"}',
    'api_optimizer_cache_operations_total{operation="lookup"}',
    'api_optimizer_request_duration_seconds{quantile="0.95"}',
    'api_optimizer_envoys{presence="present"}',
    "api_optimizer_build_info",
    "envoy_server_live",
    "envoy_overload_envoy_resource_monitors_fixed_heap_pressure",
    "envoy_cluster_circuit_breakers_default_remaining_cx",
    "envoy_wasm_envoy_wasm_runtime_v8_created",
    "namespace:api_optimizer_p95_latency:seconds",
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def configuration(directory, control_plane, envoy):
    """The shipped one with other targets; it and the rules with a quicker pulse."""
    for rules in (DEPLOY / "alerts").glob("*.rules.yml"):
        (Path(directory) / rules.name).write_text(re.sub(r"interval: \d+[sm]", "interval: 1s", rules.read_text()))
    text = (DEPLOY / "prometheus" / "standalone.yml").read_text()
    text = text.replace("localhost:8080", control_plane).replace("localhost:9901", envoy)
    text = text.replace("../alerts/", f"{directory}/")
    text = re.sub(r"scrape_interval: \S+", "scrape_interval: 1s", text)
    text = re.sub(r"scrape_timeout: \S+", "scrape_timeout: 1s", text)
    text = re.sub(r"evaluation_interval: \S+", "evaluation_interval: 1s", text)
    path = Path(directory) / "prometheus.yml"
    path.write_text(text)
    return path


def ask(base, path, **parameters):
    address = f"{base}{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def wait_until(deadline, condition):
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except (OSError, ValueError):
            pass
        time.sleep(0.3)
    return False


def targets_answer(base):
    targets = ask(base, "/api/v1/targets")["data"]["activeTargets"]
    return targets and all(target["health"] == "up" for target in targets)


def present(base, name):
    return bool(ask(base, "/api/v1/query", query=name)["data"]["result"])


def shipped():
    for file, rule in queries.rules():
        if file.parts[0] != "options":
            yield str(file), rule["expr"]
    for path, dashboard in queries.dashboards():
        for title, expression in queries.expressions(dashboard):
            yield f"dashboards/{path.name}: {title}", expression.replace("$namespace", "local")


def faults(base, deadline):
    if not wait_until(deadline, lambda: targets_answer(base)):
        for target in ask(base, "/api/v1/targets")["data"]["activeTargets"]:
            yield f"{target['scrapeUrl']}: {target['lastError'] or 'no answer in time'}"
        return
    for name in ALWAYS:
        if not wait_until(deadline, lambda name=name: present(base, name)):
            yield f"{name} is not there"
    for where, expression in shipped():
        answer = ask(base, "/api/v1/query", query=expression)
        if answer["status"] != "success":
            yield f"{where}: {answer['error']}"
    for group in ask(base, "/api/v1/rules")["data"]["groups"]:
        for rule in group["rules"]:
            if rule.get("lastError"):
                yield f"{rule['name']}: {rule['lastError']}"


def main(control_plane, envoy, seconds="30"):
    binary = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if not binary:
        sys.exit("live.py: there is no prometheus here (Debian: apt-get install prometheus, or set PROMETHEUS)")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        arguments = [
            binary,
            f"--config.file={configuration(directory, control_plane, envoy)}",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        process = subprocess.Popen(arguments)
        try:
            deadline = time.monotonic() + float(seconds)
            base = f"http://127.0.0.1:{port}"
            if not wait_until(deadline, lambda: urllib.request.urlopen(f"{base}/-/ready", timeout=2).status == 200):
                sys.exit("live.py: Prometheus did not start")
            found = list(faults(base, deadline))
        finally:
            process.terminate()
            process.wait(timeout=20)
    for line in found:
        print(line, file=sys.stderr)
    if found:
        sys.exit(1)
    print(f"{len(list(shipped()))} queries answered by a real Prometheus")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit("usage: live.py CONTROL_PLANE ENVOY [SECONDS]")
    main(*sys.argv[1:])
