#!/usr/bin/env python3
"""A stand-in for the control plane's REST API, in whatever state a test wants. Also answers for Prometheus and the webhook.

    api.py --port-file FILE [--configmap FILE]

Listens on a free port of the loopback and writes it to FILE. The settings follow the ConfigMap in the other FILE, an object as the
kubectl of the tests stores it. PUT /_state merges its body into the state, GET /_state shows it, GET /_writes lists what was written.
"""

import argparse
import base64
import hashlib
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

STATE = {
    "live": True,
    "ready": True,
    "health": {"status": "healthy", "components": {"envoys": {"status": "healthy"}}},
    "performance": {
        "p95_latency": 3.2, "error_rate": 0.1, "cache_hit_ratio": 91.5, "cache_memory_usage": 12.5, "eviction_rate": 0.4,
        "circuit_breaker_state": "closed", "http2_adoption_rate": 88, "connection_reuse_rate": 97.1, "memory_usage_mb": 48.2,
        "requests_per_second": 42.5,
    },
    "system": {
        "memory_usage": 31.2, "cpu_usage": 12.5, "cpu_usage_percent": 12.5, "disk_usage": 40, "memory_usage_mb": 48.2,
        "open_connections": 3, "max_connections": 20, "open_connections_percent": 15, "envoys": [],
    },
    "errors": {"errors_by_type": {"upstream_5xx": 2, "timeout": 0}},
    "alerts": [],
    "fleet_health": [
        {
            "node_id": "gateway-1", "status": "healthy", "faults": [], "filter": True, "statistics_at": 1790000000000, "overload": [],
            "pressure_percent": {}, "refused_configuration": [],
        },
    ],
    "rollout": {"revision": 1, "complete": True, "xds": {"complete": True, "envoys": []}},
    "cache": {
        "hit_ratio": 91.5, "size": 2, "memory_usage": 12.5, "eviction_count": 7, "recent_evictions": 1, "default_ttl": "5m",
        "average_age": "42.5s",
    },
    "invalidation": {"invalidation_rate": 0.02},
    "breaker": {"state": "closed", "failure_count": 0},
    "settings": {"cache_enabled": True, "cache_size": 1000, "cache_memory_mb": 64, "default_ttl": "5m", "max_connections": 20},
    "recommendation": {"cache_size": 2000, "cache_memory_mb": 64, "reason": "every second miss was evicted before"},
    "history": [],
    "experiments": [],
    "refused_records": 0,
    "stale_records": 0,
    "token": None,
    "prometheus": "success",
    # Whether the settings follow the ConfigMap.
    "follow": True,
    # "METHOD /path" -> status to fail with.
    "failing": {},
    "delay": 0,
}  # fmt: skip
WORDS = {"small": 1000, "medium": 10000, "large": 100000}


def snapshot(count=2):
    entries = []
    for number in range(count):
        record = base64.b64encode(f"response {number}".encode()).decode()
        entries.append({"url": f"http://api/{number}", "checksum": digest(record), "record": record})
    return {
        "format": "api-optimizer-cache-snapshot", "version": 1, "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "created_at_ms": int(time.time() * 1000), "settings_revision": 1, "complete": True, "count": count, "entries": entries,
        "checksum": digest("".join(entry["record"] for entry in entries)),
    }  # fmt: skip


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, configmap):
        super().__init__(("127.0.0.1", 0), Handler)
        self.configmap = Path(configmap) if configmap else None
        self.state = json.loads(json.dumps(STATE))
        self.revision = 1
        self.writes = []

    def settings(self):
        settings = dict(self.state["settings"])
        if self.state["follow"] and self.configmap and self.configmap.exists():
            for key, value in json.loads(self.configmap.read_text()).get("data", {}).items():
                settings[key] = number(value) or settings.get(key) if key != "default_ttl" else value
        return settings


def number(value):
    try:
        return WORDS.get(value) or int(float(value))
    except (TypeError, ValueError):
        return None


class Problem(Exception):
    def __init__(self, status, code, title, **more):
        super().__init__(title)
        self.status = status
        self.document = {"status": status, "code": code, "title": title, **more}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Quiet."""

    def handle_one(self):
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        try:
            self.answer(200, self.route(url.path, query, body))
        except Problem as problem:
            self.answer(problem.status, problem.document, "application/problem+json")
        except ConnectionResetError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = handle_one

    def answer(self, status, document, kind="application/json"):
        text = json.dumps(document, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("ETag", f'"test-{self.server.revision}"')
        self.end_headers()
        self.wfile.write(text)

    def route(self, path, query, body):
        state = self.server.state
        if path == "/_state":
            merge(state, json.loads(body or b"{}"))
            return state
        if path == "/_writes":
            return self.server.writes
        time.sleep(state["delay"])
        failing = state["failing"].get(f"{self.command} {path}")
        if failing:
            raise Problem(failing, "failing", "It fails", detail="as the test asked")
        if state["token"] and f"{self.command} {path}" not in OPEN and not self.shows(state["token"]):
            raise Problem(401, "unauthorized", "A token is needed")
        found = ROUTES.get(f"{self.command} {path}")
        if found is None:
            raise Problem(404, "not_found", "There is no such resource")
        return found(self, query, body)

    def shows(self, token):
        """As Bearer, or as the password of Basic."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            return base64.b64decode(value).decode().partition(":")[2] == token
        return scheme == "Bearer" and value == token


def merge(state, change):
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(state.get(key), dict):
            merge(state[key], value)
        else:
            state[key] = value


def shown(key):
    return lambda handler, query, body: handler.server.state[key]


def probe(key):
    def answer(handler, query, body):
        if not handler.server.state[key]:
            raise Problem(503, f"not_{key}", f"Not {key}")
        return {"status": key}

    return answer


def cache_stats(handler, query, body):
    settings = handler.server.settings()
    return {**handler.server.state["cache"], "default_ttl": settings["default_ttl"]}


def show_settings(handler, query, body):
    return handler.server.settings()


def patch_settings(handler, query, body):
    server = handler.server
    condition = handler.headers.get("If-Match")
    if condition and condition != f'"test-{server.revision}"':
        raise Problem(412, "conflict", "The settings have changed in between")
    settings = server.settings()
    for key, value in changes(json.loads(body)).items():
        if key not in settings:
            raise Problem(422, "invalid_settings", "Some settings are not allowed", violations=[{"path": f"/{key}", "message": "there is no such setting"}])
        if key in ("cache_size", "max_connections"):
            value = number(value)
            if not value or value < 1:
                raise Problem(422, "invalid_settings", "Some settings are not allowed", violations=[{"path": f"/{key}", "message": "given 0"}])
        settings[key] = value
    if query.get("dry_run") != "true":
        server.state["settings"] = settings
        server.revision += 1
        server.writes.append({"path": "/settings", "body": json.loads(body), "reason": handler.headers.get("X-Reason")})
    return {"revision": server.revision, "dry_run": query.get("dry_run") == "true", "stragglers": [], "settings": settings}


def changes(body):
    if isinstance(body, list):
        return {operation["path"].removeprefix("/data").strip("/"): operation["value"] for operation in body}
    return body


def optimize(handler, query, body):
    handler.server.writes.append({"path": "/cache/optimize"})
    return {"actions": {"expired_removed": 3, "purged_removed": 0}, "recommendation": handler.server.state["recommendation"], "applied": False}


def begin_experiment(handler, query, body):
    state = handler.server.state
    if any(one["ended_at"] is None for one in state["experiments"]):
        raise Problem(409, "experiment_under_way", "Another experiment is under way")
    asked = json.loads(body)
    one = {"id": f"e{len(state['experiments'])}", "state": "warming_up", "summary": "It becomes warm.", "ended_at": None, **asked}
    state["experiments"] = [one, *state["experiments"]]
    handler.server.writes.append({"path": "/tuning/experiments", "body": asked})
    return one


def take_snapshot(handler, query, body):
    return snapshot()


def restore(handler, query, body):
    try:
        document = json.loads(body)
        entries = document["entries"]
        if document["format"] != "api-optimizer-cache-snapshot" or document["version"] != 1:
            raise Problem(422, "not_a_snapshot", "This is no snapshot of a version that is known")
        broken = sum(entry["checksum"] != digest(entry["record"]) for entry in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise Problem(400, "not_a_snapshot", "This is no snapshot") from error
    state = handler.server.state
    refused = broken + state["refused_records"]
    dry_run = query.get("dry_run") == "true"
    restored = len(entries) - refused - state["stale_records"]
    if not dry_run:
        handler.server.writes.append({"path": "/cache/restore", "count": restored})
        state["cache"]["size"] = restored
    return {"restored": restored, "expired": state["stale_records"], "refused": refused, "reasons": {}, "dry_run": dry_run}


def prometheus(handler, query, body):
    if handler.server.state["prometheus"] != "success":
        raise Problem(500, "unavailable", "admin APIs disabled")
    return {"status": "success", "data": {"name": "20261124T120000Z-1a2b3c4d5e6f7081"}}


def webhook(handler, query, body):
    handler.server.writes.append({"path": "/hooks/security", "body": json.loads(body)})
    return {}


ROUTES = {
    "GET /health": shown("health"),
    "GET /health/live": probe("live"),
    "GET /health/ready": probe("ready"),
    "GET /fleet/health": shown("fleet_health"),
    "GET /settings/rollout": shown("rollout"),
    "GET /metrics/performance": shown("performance"),
    "GET /metrics/system": shown("system"),
    "GET /metrics/errors": shown("errors"),
    "GET /alerts/active": shown("alerts"),
    "GET /cache/stats": cache_stats,
    "GET /cache/invalidation-stats": shown("invalidation"),
    "GET /circuit-breaker/status": shown("breaker"),
    "GET /settings": show_settings,
    "GET /settings/history": shown("history"),
    "PATCH /settings": patch_settings,
    "POST /cache/optimize": optimize,
    "GET /tuning/experiments": shown("experiments"),
    "POST /tuning/experiments": begin_experiment,
    "POST /cache/snapshot": take_snapshot,
    "POST /cache/restore": restore,
    "POST /api/v1/admin/tsdb/snapshot": prometheus,
    "POST /hooks/security": webhook,
}

# What asks for no token: the probes, and what is no control plane.
OPEN = ("GET /health/live", "GET /health/ready", "POST /api/v1/admin/tsdb/snapshot", "POST /hooks/security")


def main():
    parser = argparse.ArgumentParser(description="A stand-in for the control plane's REST API.")
    parser.add_argument("--port-file", required=True)
    parser.add_argument("--configmap")
    arguments = parser.parse_args()
    server = Server(arguments.configmap)
    beside = f"{arguments.port_file}.new"
    Path(beside).write_text(str(server.server_address[1]))
    os.rename(beside, arguments.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
