//! What holds for every settings document.

use optimizer_proto::settings::{Settings, check_key};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The names of all fields anywhere, so that arbitrary documents get past the outermost object.
fn known_name() -> impl Strategy<Value = String> {
    let names = [
        "cache_enabled",
        "cache_size",
        "cache_memory_mb",
        "max_object_size",
        "eviction_policy",
        "default_ttl",
        "max_connections",
        "freshness",
        "breaker",
        "routes",
        "ttl_floor",
        "ttl_ceiling",
        "window",
        "open_wait",
        "open_wait_max",
        "failure_statuses",
        "failure_classes",
        "active_health_checks",
        "upstream",
        "path",
        "expected_statuses",
        "start",
        "end",
        "name",
        "host",
        "path_prefix",
        "key_query",
        "mode",
        "names",
        "key_headers",
        "ttl_override",
    ];
    prop_oneof![4 => prop::sample::select(names.to_vec()).prop_map(str::to_owned), 1 => ".{0,12}"]
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

fn arbitrary() -> impl Strategy<Value = Value> {
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
            "key_query": {"mode": mode, "names": names}, "key_headers": headers, "cache": flags[0], "breaker": flags[1],
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

/// A check of every cluster, and one of a cluster's own.
fn checks(numbers: &[u32; 4], interval: &Value) -> Value {
    let [start, more, timeout, _] = numbers;
    let ranges = json!([{"start": 100 + start, "end": 100 + start + more}]);
    json!([{"upstream": "*", "path": "/health"},
        {"upstream": "a", "path": "/b?c", "host": "D.example", "method": "HEAD", "expected_statuses": ranges,
            "interval": interval, "timeout": format!("{}ms", timeout * 10)}])
}

prop_compose! {
    fn sound()(
        flags in any::<[bool; 3]>(), size in 1_u32..=1_000_000, memory in 1_u32..=16_384, object in 1_024_u64..=16_777_216,
        policy in prop::sample::select(vec!["s3_fifo", "sieve", "lru", "lfu", "fifo"]), connections in 1_u32..=1_000_000,
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

proptest! {
    #[test]
    fn parsing_never_panics(document in arbitrary()) {
        match Settings::parse(&document) {
            Ok((settings, _)) => prop_assert_eq!(Settings::parse(&settings.to_json()), Ok((settings, Vec::new()))),
            Err(violations) => prop_assert!(!violations.is_empty()),
        }
    }

    #[test]
    fn keys_never_panic(key in "[a-z_.]{0,24}|cache_size|breaker\\.window|routes|.{0,10}", text in ".{0,30}") {
        if let Err(violations) = check_key(&key, &text) {
            prop_assert!(!violations.is_empty());
        }
    }

    #[test]
    fn the_canonical_form_says_the_same(document in sound()) {
        let (settings, notices) = Settings::parse(&document).map_err(|found| TestCaseError::fail(format!("{found:?}")))?;
        prop_assert!(notices.is_empty());
        prop_assert_eq!(Settings::parse(&settings.to_json()), Ok((settings, Vec::new())));
    }
}

#[test]
fn a_document_of_a_newer_version_is_understood_without_what_is_unknown() {
    let mut newer = Settings::default().to_json();
    newer["cache_size"] = json!(77);
    newer["prefetch"] = json!({"depth": 3});
    newer["breaker"]["hedge"] = json!("5ms");
    newer["routes"] = json!([{"name": "a", "mirror": "b"}]);
    assert!(Settings::parse(&newer).is_err(), "an operator's mistake is told");
    let (settings, ignored) = Settings::parse_tolerant(&newer).unwrap();
    assert_eq!(settings.cache_size, 77);
    let mut paths: Vec<&str> = ignored.iter().map(|unknown| unknown.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/breaker/hedge", "/prefetch", "/routes/0/mirror"]);
    newer["eviction_policy"] = json!("clairvoyant");
    assert!(
        Settings::parse_tolerant(&newer).is_err(),
        "an unknown value cannot be guessed"
    );
}
