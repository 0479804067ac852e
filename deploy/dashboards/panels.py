"""The pieces of a Grafana dashboard that all of ours are made of."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
FLEET = 'job="api-optimizer", namespace="$namespace"'
ENVOY = 'job="api-optimizer-envoy", namespace="$namespace"'
INGRESS = f'{ENVOY}, envoy_http_conn_manager_prefix="ingress"'
ORIGINS = f'{ENVOY}, envoy_cluster_name!~"admin|control_plane"'


def steps(warning=None, critical=None, low_is_bad=False):
    """Colours by the runbook's thresholds."""
    if warning is None:
        return {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}
    if low_is_bad:
        colours = [("red", None), ("orange", critical), ("green", warning)]
    else:
        colours = [("green", None), ("orange", warning), ("red", critical)]
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in colours]}


def targets(queries, instant):
    return [
        {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend,
            "instant": instant,
            "range": not instant,
        }
        for index, (legend, expression) in enumerate(queries.items())
    ]


def panel(kind, title, queries, unit, width, height, thresholds, description, instant=False):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "size": (width, height),
        "targets": targets(queries, instant),
        "fieldConfig": {
            "defaults": {"unit": unit, "thresholds": thresholds or steps(), "noValue": "no data"},
            "overrides": [],
        },
        "options": {},
    }


def stat(title, expression, unit="short", thresholds=None, description="", width=4):
    made = panel("stat", title, {"": expression}, unit, width, 4, thresholds, description, instant=True)
    made["options"] = {"colorMode": "background" if thresholds else "value", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return made


def series(title, queries, unit="short", thresholds=None, description="", width=12, stacked=False, height=8):
    made = panel("timeseries", title, queries, unit, width, height, thresholds, description)
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stacked else 5, "showPoints": "never"}
    custom["stacking"] = {"mode": "normal" if stacked else "none"}
    custom["thresholdsStyle"] = {"mode": "dashed" if thresholds else "off"}
    made["fieldConfig"]["defaults"]["custom"] = custom
    made["options"] = {"legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]}}
    return made


def table(title, expression, description="", width=12, height=8):
    made = panel("table", title, {"": expression}, "short", width, height, None, description, instant=True)
    made["targets"][0]["format"] = "table"
    made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True, "job": True}}}]
    return made


def laid_out(panels):
    """Left to right, top to bottom; a panel that does not fit starts the next row."""
    placed, column, row, row_height = [], 0, 0, 0
    for number, content in enumerate(panels, start=1):
        content = dict(content)
        width, height = content.pop("size")
        if column + width > COLUMNS:
            column, row, row_height = 0, row + row_height, 0
        placed.append({"id": number, "gridPos": {"x": column, "y": row, "w": width, "h": height}, **content})
        column, row_height = column + width, max(row_height, height)
    return placed


def variables():
    namespaces = "label_values(api_optimizer_build_info, namespace)"
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "namespace",
            "type": "query",
            "label": "Environment",
            "datasource": DATASOURCE,
            "definition": namespaces,
            "query": {"query": namespaces, "refId": "namespace"},
            "refresh": 2,
            "current": {"text": "production", "value": "production"},
        },
    ]


def links(uids):
    return [
        {"type": "link", "title": title, "url": f"/d/{uid}?${{__url_time_range}}&${{namespace:queryparam}}"}
        for uid, title in uids.items()
    ]


def dashboard(uid, title, panels, others):
    return {
        "uid": uid,
        "title": title,
        "tags": ["api-optimizer"],
        "timezone": "utc",
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables()},
        "links": links({other: name for other, name in others.items() if other != uid}),
        "annotations": {"list": []},
        "panels": laid_out(panels),
    }
