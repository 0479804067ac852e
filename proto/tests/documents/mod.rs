//! Settings documents by chance: anything at all, sound ones, and sound ones in which something was replaced.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The names of all settings anywhere, so that arbitrary documents get past the outermost object.
fn known_name() -> impl Strategy<Value = String> {
    let mut names = Vec::new();
    collect_names(&optimizer_proto::settings::schema(), &mut names);
    prop_oneof![4 => prop::sample::select(names), 1 => ".{0,12}"]
}

fn collect_names(schema: &Value, names: &mut Vec<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        names.push(name.clone());
        collect_names(inner, names);
        collect_names(&inner["items"], names);
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[-+]?[0-9]{0,25}(\\.[0-9]{0,12})?(ms|s|m|h|d|KiB|MB|é|GiB)?([0-9]{1,3}s)?".prop_map(Value::from),
        "(\\*\\.)?[a-zA-Z0-9.:\\[\\]-]{0,12}".prop_map(Value::from),
        "/[a-z/?#]{0,8}".prop_map(Value::from),
    ]
}

pub fn arbitrary() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..6).prop_map(Value::from),
            3 => btree_map(known_name(), inner, 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn span(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Value> {
    range.prop_map(|ms| Value::from(format!("{ms}ms")))
}

/// Floor, default and ceiling in order.
fn lifetimes() -> impl Strategy<Value = [Value; 3]> {
    prop::array::uniform3(0_u64..=2_592_000_000).prop_map(|mut ms| {
        ms.sort_unstable();
        ms.map(|ms| Value::from(format!("{ms}ms")))
    })
}

fn route() -> impl Strategy<Value = Map<String, Value>> {
    let own = (
        any::<bool>(),
        lifetimes(),
        span(0..=2_592_000_000),
        1_024_u64..=16_777_216,
    );
    let key = (
        btree_set("[a-z]{1,6}", 1..5),
        btree_set("x-[a-z]{1,6}", 0..5),
        0..4_usize,
    );
    (own, key, any::<[bool; 4]>()).prop_map(|((all, [floor, default, ceiling], window, size), (names, headers, mode), flags)| {
        let mode = ["all", "none", "include", "exclude"][mode];
        let set_cookie = ["refuse", "strip", "share"][names.len() % 3];
        let names = if mode.len() > 4 { json!(names) } else { json!([]) };
        let mut fields = json!({
            "key_query": {"mode": mode, "names": names}, "key_body": key_body(&names, flags[1]), "key_headers": headers, "cache": flags[0], "breaker": flags[1],
            "set_cookie": set_cookie,
            "share_with_credentials": flags[1], "credential_headers": headers,
            "isolate_authorization": flags[2], "ignore_request_cache_control": flags[3], "max_object_size": size,
        });
        if all {
            let more = json!({"ttl_floor": floor, "default_ttl": default, "ttl_ceiling": ceiling, "ttl_override": window,
                "stale_if_error": window, "stale_while_revalidate": window, "max_stale_on_outage": window});
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        fields.as_object().unwrap().clone()
    })
}

/// Reads with content: any, or GraphQL queries of some names.
fn key_body(names: &Value, graphql: bool) -> Value {
    if graphql {
        json!({"methods": ["QUERY", "POST"], "max_size": "4KiB", "reads": "graphql", "operations": ["*"], "persisted": ["0".repeat(64)]})
    } else {
        json!({"methods": if names == &json!([]) { json!([]) } else { json!(["QUERY"]) }})
    }
}

/// A check of every cluster, and one of a cluster's own.
fn checks(numbers: &[u32; 4], interval: &Value) -> Value {
    let [start, more, timeout, _] = numbers;
    let ranges = json!([{"start": 100 + start, "end": 100 + start + more}]);
    json!([{"upstream": "*", "path": "/health"},
        {"upstream": "a", "path": "/b?c", "host": "D.example", "method": "HEAD", "expected_statuses": ranges,
            "interval": interval, "timeout": format!("{}ms", timeout * 10)}])
}

prop_compose! {
    pub fn sound()(
        flags in any::<[bool; 3]>(), size in 1_u32..=1_000_000, memory in 1_u32..=16_384, object in 1_024_u64..=16_777_216,
        policy in prop::sample::select(vec!["s3_fifo", "sieve", "lru", "lfu", "fifo", "gdsf"]), connections in 1_u32..=1_000_000,
        [_, default, ceiling] in lifetimes(), windows in prop::array::uniform3(span(0..=2_592_000_000)),
        percents in prop::array::uniform4(1_u32..=50), wait in 100_u64..=600_000, extra in 0_u64..=3_000_000,
        window in span(1_000..=600_000), statuses in btree_set(500_u16..=599, 0..10),
        classes in btree_set(prop::sample::select(vec!["connect_failure", "reset", "timeout", "refused", "protocol_error", "status"]), 0..7),
        routes in vec(route(), 0..6),
    ) -> Value {
        // Routes are drawn by themselves: give them room below the ceiling of all.
        let ceiling = if routes.is_empty() { ceiling } else { json!("30d") };
        let routes: Vec<Value> = routes.into_iter().enumerate().map(|(index, mut fields)| {
            fields.insert("name".into(), json!(format!("r{index}")));
            fields.insert("path_prefix".into(), json!(format!("/{index}")));
            Value::Object(fields)
        }).collect();
        json!({
            "cache_enabled": flags[0], "cache_size": size, "cache_memory_mb": memory, "max_object_size": object, "eviction_policy": policy,
            "default_ttl": default, "max_connections": connections,
            "freshness": {"ttl_floor": "0s", "ttl_ceiling": ceiling, "stale_while_revalidate": windows[0], "stale_if_error": windows[1],
                "max_stale_on_outage": windows[2], "heuristic_fraction_percent": percents[0], "jitter_percent": percents[1]},
            "breaker": {"enabled": flags[1], "failure_rate_percent": percents[2], "slow_call_rate_percent": percents[3], "window": window,
                "minimum_calls": size, "consecutive_connect_failures": size, "open_wait": format!("{wait}ms"),
                "open_wait_max": format!("{}ms", wait + extra), "jitter_percent": percents[0], "probes": percents[1],
                "slow_call_duration": "1s", "failure_statuses": statuses, "failure_classes": classes, "dry_run": flags[2],
                "active_health_checks": checks(&percents, &window)},
            "routes": routes,
        })
    }
}

/// A document that was sound before a few values in it were replaced, put in or repeated.
pub fn spoiled() -> impl Strategy<Value = Value> {
    let changes = vec((any::<prop::sample::Index>(), known_name(), telling(), 0..6_u8), 1..5);
    (whole(), changes).prop_map(|(mut document, changes)| {
        for (place, name, value, how) in changes {
            let mut paths = Vec::new();
            collect_paths(&document, String::new(), &mut paths);
            let path = &paths[place.index(paths.len())];
            let target = document.pointer_mut(path).expect("a path of the document");
            match (how, target) {
                (0, Value::Object(fields)) => drop(fields.insert(name, value)),
                (1, Value::Array(items)) if !items.is_empty() => items.push(items[0].clone()),
                (_, target) => *target = value,
            }
        }
        document
    })
}

/// A sound document in which every list has items.
fn whole() -> impl Strategy<Value = Value> {
    sound().prop_map(|mut document| {
        let endpoints = json!([{"address": "api.example:443", "weight": 2}, {"address": "[::1]:80"}]);
        document["upstreams"] =
            json!([{"name": "u", "endpoints": endpoints, "tls": true, "health_check_path": "/health"}]);
        document["purge_sources"] = json!(["10.0.0.0/8", "::1"]);
        document["shared_tier"] = json!({"routes": ["a"], "min_size": "1KiB", "deadline": "5ms"});
        document["alerts"] =
            json!({"p95_latency": {"warning": 5, "for": "1m"}, "states": {"filter_missing": {"enabled": false}}});
        document
    })
}

/// Values at the borders of what is taken, as people write them.
fn telling() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "5",
        "+5",
        "-5",
        "5.",
        ".5",
        "1.5",
        "1s",
        "15m",
        "1h30m",
        "31d",
        "1.0005s",
        "30m1h",
        " short ",
        "longg",
        "\u{85}5\u{a0}",
        "1KiB",
        "1.5MiB",
        "1.0MiB",
        "1.5B",
        "2 MB",
        "4Mi",
        "17MiB",
        "lru",
        " lfu\n",
        "lruu",
        "true",
        " false",
        "GET",
        "a.b:80",
        "*",
        "*.x",
        "[::1]:80",
        "a:99999",
        "other",
        "A",
        "/x",
        "/x?y",
        "/x#",
        "X-A",
        "Host",
        "10.0.0.0/+8",
        "a b",
        "include",
        "timeout",
        "strip",
    ];
    let numbers = [
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(-0.5),
        json!(-0.0),
        json!(50.9),
        json!(100),
        json!(100.7),
        json!(101),
        json!(429),
        json!(500),
        json!(599.5),
        json!(600),
        json!(1e300),
        json!(1_000_000.9),
        json!(1_000_001),
    ];
    let wholes = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(["a", "a"]),
        json!(["a", "b"]),
        json!([503, "429"]),
        json!([{"name": "x"}]),
        json!({"warning": 5}),
        json!([{"address": "a:1"}]),
        json!({"mode": "include"}),
        json!({"names": ["a"]}),
    ];
    let all = texts.map(Value::from).into_iter().chain(numbers).chain(wholes);
    prop_oneof![3 => prop::sample::select(all.collect::<Vec<_>>()), 1 => leaf()]
}

fn collect_paths(value: &Value, path: String, paths: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, inner)| collect_paths(inner, format!("{path}/{}", escaped(name)), paths)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, inner)| collect_paths(inner, format!("{path}/{at}"), paths)),
        _ => {}
    }
    paths.push(path);
}
