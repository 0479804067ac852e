#!/usr/bin/env python3
"""Writes the four dashboards beside it.

    build.py            write what differs
    build.py --check    exit 1, with the names, if anything differs

The uids are those the runbook links. Percentages are 0 to 100 as in the REST API; only metrics that exist are asked for.
"""

import json
import sys
from pathlib import Path

# No __pycache__ beside the dashboards.
sys.dont_write_bytecode = True

from panels import ENVOY, FLEET, INGRESS, ORIGINS, dashboard, series, stat, steps, table  # noqa: E402

HERE = Path(__file__).resolve().parent
TITLES = {
    "system-overview": "API optimizer: system overview",
    "performance": "API optimizer: performance",
    "cache-metrics": "API optimizer: cache",
    "alert-status": "API optimizer: alert status",
}
WINDOW = "[5m]"

REQUESTS = f"sum(rate(api_optimizer_requests_total{{{FLEET}}}{WINDOW}))"
FAILED = f'sum(rate(api_optimizer_requests_total{{{FLEET}, outcome=~"error|shed"}}{WINDOW}))'
ERROR_RATE = f"100 * {FAILED} / {REQUESTS}"
P95 = f'max(api_optimizer_request_duration_seconds{{{FLEET}, quantile="0.95"}})'
PRESSURE = f"envoy_overload_envoy_resource_monitors_fixed_heap_pressure{{{ENVOY}}}"
ACTIVE = f"envoy_cluster_upstream_cx_active{{{ORIGINS}}}"
REMAINING = f"envoy_cluster_circuit_breakers_default_remaining_cx{{{ENVOY}}}"
CONNECTIONS = f"100 * {ACTIVE} / ({ACTIVE} + {REMAINING})"
ALERTS = 'ALERTS{alertname=~"ApiOptimizer.*", namespace=~"$namespace|", alertstate="firing"}'

LATENCY_STEPS = steps(0.010, 0.050)
ERROR_STEPS = steps(1, 5)
HIT_STEPS = steps(70, 50, low_is_bad=True)
SHARE_STEPS = steps(80, 95)


def operation(name):
    return f'sum(rate(api_optimizer_cache_operations_total{{{FLEET}, operation="{name}"}}{WINDOW}))'


HIT_RATIO = f"100 * {operation('hit')} / {operation('lookup')}"


def quantiles():
    expression = f"max by (slot, quantile) (api_optimizer_request_duration_seconds{{{FLEET}}})"
    return series("Client latency", {"{{slot}} p{{quantile}}": expression}, "s", LATENCY_STEPS, "Five minutes, per version; hits and misses together")


def system_overview():
    return [
        stat("Requests per second", f"sum(rate(api_optimizer_requests_total{{{FLEET}}}{WINDOW}))", "reqps"),
        stat("P95 latency", P95, "s", LATENCY_STEPS),
        stat("Error rate", ERROR_RATE, "percent", ERROR_STEPS, "Failed, and refused by an open breaker"),
        stat("Cache hit ratio", HIT_RATIO, "percent", HIT_STEPS),
        stat("Envoys present", f'sum(api_optimizer_envoys{{{FLEET}, presence="present"}})', "short", steps(1, 0.5, low_is_bad=True)),
        stat("Firing alerts", f"count({ALERTS}) or vector(0)", "short", steps(1, 3)),
        series("Requests by outcome", {"{{outcome}}": f"sum by (outcome) (rate(api_optimizer_requests_total{{{FLEET}}}{WINDOW}))"}, "reqps", stacked=True),
        quantiles(),
        series("Upstream failures by type", {"{{type}}": f"sum by (type) (rate(api_optimizer_upstream_errors_total{{{FLEET}}}{WINDOW}))"}, "cps", stacked=True),
        series(
            "Breakers not closed",
            {"{{upstream}} {{state}}": f'sum by (upstream, state) (api_optimizer_breaker_state{{{FLEET}, state!="closed"}})'},
            description="How many Envoys hold the breaker of an upstream in a state",
        ),
        series("Envoys", {"{{slot}} {{presence}}": f"sum by (slot, presence) (api_optimizer_envoys{{{FLEET}}})"}),
        series("Envoy heap, of its limit", {"{{slot}} {{instance}}": PRESSURE}, "percent", SHARE_STEPS),
        series("Control plane memory", {"{{slot}}": f"process_resident_memory_bytes{{{FLEET}}}"}, "bytes", width=8),
        series("Settings revision", {"{{slot}}": f"api_optimizer_settings_revision{{{FLEET}}}"}, width=8, description="A step is a change of the settings"),
        table("Releases", f"api_optimizer_build_info{{{FLEET}}}", width=8),
    ]


def performance():
    bucket = f"envoy_http_downstream_rq_time_bucket{{{INGRESS}}}"
    count = f"sum(rate(envoy_http_downstream_rq_time_count{{{INGRESS}}}{WINDOW}))"
    upstream = f"envoy_cluster_upstream_rq_time_bucket{{{ORIGINS}}}"

    def within(milliseconds):
        return f'100 * sum(rate(envoy_http_downstream_rq_time_bucket{{{INGRESS}, le="{milliseconds}"}}{WINDOW})) / {count}'

    http2 = f"(sum(rate(envoy_http_downstream_rq_http2_total{{{INGRESS}}}{WINDOW})) or vector(0))"
    all_requests = f"sum(rate(envoy_http_downstream_rq_total{{{INGRESS}}}{WINDOW}))"
    opened = f"sum(rate(envoy_cluster_upstream_cx_total{{{ORIGINS}}}{WINDOW}))"
    sent = f"sum(rate(envoy_cluster_upstream_rq_total{{{ORIGINS}}}{WINDOW}))"
    return [
        stat("P95 latency", P95, "s", LATENCY_STEPS, width=6),
        stat("Within 10 ms", within(10), "percent", width=6, description="Share of requests, from Envoy's histogram"),
        stat("Within 50 ms", within(50), "percent", width=6, description="The latency objective: 99 %"),
        stat("Requests per second", REQUESTS, "reqps", width=6),
        quantiles(),
        series(
            "P95 by Envoy",
            {"{{instance}}": f"histogram_quantile(0.95, sum by (instance, le) (rate({bucket}{WINDOW}))) / 1000"},
            "s",
            LATENCY_STEPS,
            "From Envoy's histogram: as fine as its buckets",
        ),
        series("P95 of upstreams", {"{{envoy_cluster_name}}": f"histogram_quantile(0.95, sum by (envoy_cluster_name, le) (rate({upstream}{WINDOW}))) / 1000"}, "s"),
        series("Requests by Envoy", {"{{slot}} {{instance}}": f"sum by (slot, instance) (rate(envoy_http_downstream_rq_total{{{INGRESS}}}{WINDOW}))"}, "reqps"),
        series("HTTP/2 share of client requests", {"HTTP/2": f"100 * {http2} / {all_requests}"}, "percent", width=8),
        series("Upstream requests on a reused connection", {"reused": f"clamp_min(100 * (1 - {opened} / {sent}), 0)"}, "percent", width=8),
        series("Open upstream connections, of the limit", {"{{instance}} {{envoy_cluster_name}}": CONNECTIONS}, "percent", SHARE_STEPS, width=8),
        series("Requests in flight", {"{{instance}}": f"sum by (instance) (envoy_http_downstream_rq_active{{{INGRESS}}})"}, width=8),
        series("Waiting for a connection", {"{{instance}}": f"sum by (instance) (envoy_cluster_upstream_rq_pending_active{{{ORIGINS}}})"}, width=8),
        series("Client connections", {"{{instance}}": f"sum by (instance) (envoy_http_downstream_cx_active{{{INGRESS}}})"}, width=8),
    ]


def cache_metrics():
    entries, size = "api_optimizer_cache_entries", "api_optimizer_cache_bytes"

    def full(metric):
        return f'100 * sum({metric}{{{FLEET}, kind="held"}}) / sum({metric}{{{FLEET}, kind="limit"}})'

    return [
        stat("Hit ratio", HIT_RATIO, "percent", HIT_STEPS, width=6),
        stat("Stored responses", f'sum({entries}{{{FLEET}, kind="held"}})', width=6),
        stat("Memory of the cache", f'sum({size}{{{FLEET}, kind="held"}})', "decbytes", width=6),
        stat("Evictions per second", operation("evict"), "cps", width=6),
        series("Hit ratio", {"hits of lookups": HIT_RATIO}, "percent", HIT_STEPS),
        series("Answered from the cache", {"{{outcome}}": f'sum by (outcome) (rate(api_optimizer_requests_total{{{FLEET}, outcome=~"hit|stale|revalidated|miss|bypass"}}{WINDOW}))'}, "reqps", stacked=True),
        series("How full", {"entries": full(entries), "memory": full(size)}, "percent", description="Of the limits of all Envoys present"),
        series("Operations", {"{{operation}}": f"sum by (operation) (rate(api_optimizer_cache_operations_total{{{FLEET}}}{WINDOW}))"}, "cps"),
        series("Why not stored or not used", {"{{reason}}": f"topk(10, sum by (reason) (rate(api_optimizer_cache_not_used_total{{{FLEET}}}{WINDOW})))"}, "cps", stacked=True),
        series("Evicted, expired, invalidated", {name: operation(name) for name in ("evict", "expire", "invalidate")}, "cps"),
        series("Bytes served from the cache", {"{{instance}}": f"sum by (instance) (rate(api_optimizer_cache_hit_bytes_total{{{ENVOY}}}{WINDOW}))"}, "Bps", description="Counted by the filter in each Envoy"),
        series("Corrupt slots", {"found": f'sum(increase(api_optimizer_cache_operations_total{{{FLEET}, operation="corrupt"}}[10m]))'}, description="Told by their checksum and not served"),
    ]


def alert_status():
    def burn(name, windows):
        return {window: f'namespace:api_optimizer_{name}_budget:burn{window}{{namespace="$namespace"}}' for window in windows}

    return [
        stat("Critical", f'count({ALERTS[:-1]}, severity="critical"}}) or vector(0)', thresholds=steps(1, 1), width=6),
        stat("Warning", f'count({ALERTS[:-1]}, severity="warning"}}) or vector(0)', thresholds=steps(1, 10), width=6),
        stat("Control planes that answer", f"sum(up{{{FLEET}}})", thresholds=steps(1, 0.5, low_is_bad=True), width=6),
        stat("Envoys that answer", f"sum(up{{{ENVOY}}})", thresholds=steps(1, 0.5, low_is_bad=True), width=6),
        table("Firing", ALERTS, width=24),
        series(
            "Alerts of the control planes themselves",
            {"{{slot}} {{alert}} {{severity}}": f"sum by (slot, alert, severity) (api_optimizer_alerts{{{FLEET}}})"},
            description="What GET /alerts/active lists",
            stacked=True,
        ),
        series(
            "What is wrong with Envoys",
            {"{{slot}} {{component}}": f"sum by (slot, component) (api_optimizer_envoy_faults{{{FLEET}}})"},
            description="How many have it; GET /fleet/health says which",
            stacked=True,
        ),
        series("Notifications that wait", {"{{slot}}": f"api_optimizer_notifications_waiting{{{FLEET}}}"}, description="Of the control planes' own receivers"),
        series("Firing over time", {"{{alertname}} {{severity}}": f"count by (alertname, severity) ({ALERTS})"}, width=24, stacked=True),
        series("P95 latency against its thresholds", {"p95": P95}, "s", LATENCY_STEPS),
        series("Error rate against its thresholds", {"errors": ERROR_RATE}, "percent", ERROR_STEPS),
        series("Hit ratio against its thresholds", {"hits": HIT_RATIO}, "percent", HIT_STEPS),
        series("Throughput against its thresholds", {"requests": REQUESTS, "a week ago": REQUESTS.replace(WINDOW, f"{WINDOW} offset 1w")}, "reqps", steps(50, 20, low_is_bad=True)),
        series("Envoy heap against its thresholds", {"{{instance}}": PRESSURE}, "percent", SHARE_STEPS),
        series("Open connections against their thresholds", {"{{instance}} {{envoy_cluster_name}}": CONNECTIONS}, "percent", SHARE_STEPS),
        series("Burn rate of the error budget", burn("error", ("5m", "1h", "6h", "3d")), description="1 spends the month's budget in a month; needs the recording rules"),
        series("Burn rate of the latency budget", burn("latency", ("5m", "1h", "6h")), description="Requests over 50 ms; needs the recording rules"),
    ]


def text_of(content):
    """One panel a line: a change of one is one line of a diff."""
    head = json.dumps({**content, "panels": []}, indent=1)
    panels = ",\n".join("  " + json.dumps(panel) for panel in content["panels"])
    return head.replace('"panels": []', f'"panels": [\n{panels}\n ]') + "\n"


def outputs():
    content = {
        "system-overview": system_overview(),
        "performance": performance(),
        "cache-metrics": cache_metrics(),
        "alert-status": alert_status(),
    }
    return {HERE / f"{uid}.json": text_of(dashboard(uid, TITLES[uid], made, TITLES)) for uid, made in content.items()}


def main(arguments):
    if arguments not in ([], ["--check"]):
        sys.exit("usage: build.py [--check]")
    differing = {path: text for path, text in outputs().items() if not path.is_file() or path.read_text() != text}
    if arguments and differing:
        sys.exit("differs, run build.py: " + ", ".join(sorted(path.name for path in differing)))
    for path, text in differing.items():
        path.write_text(text)
        print(f"wrote dashboards/{path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
