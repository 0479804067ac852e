use super::*;
use serde_json::json;

#[test]
fn patches_in_both_shapes() {
    let present = json!({"cache_size": 10, "default_ttl": "5m"});
    for (change, size) in [
        (
            Change::Patch(json!([{"op": "replace", "path": "/cache_size", "value": 20}])),
            json!(20),
        ),
        (
            Change::Patch(json!([{"op": "replace", "path": "/data/cache_size", "value": "20"}])),
            json!("20"),
        ),
        (Change::Merge(json!({"cache_size": 20})), json!(20)),
        (Change::Merge(json!({"data": {"cache_size": "20"}})), json!("20")),
        (Change::Replace(json!({"cache_size": 20})), json!(20)),
    ] {
        assert_eq!(change.apply(&present).unwrap()["cache_size"], size);
    }
}

#[test]
fn tests_compare_by_value_and_on_keys_of_a_config_map_by_meaning() {
    let present: Value = serde_json::from_str(
        r#"{"cache_size": 1, "big": 9007199254740993, "most": 18446744073709551615, "half": 0.5, "list": [1, {"a": 2}],
            "default_ttl": "60s", "max_object_size": null, "breaker": {"open_wait": "1m", "enabled": true}}"#,
    )
    .unwrap();
    for (path, value, passes) in [
        ("/cache_size", "1", true),
        ("/cache_size", "1.0", true),
        ("/cache_size", "1e0", true),
        ("/cache_size", "10e-1", true),
        ("/cache_size", "1.5", false),
        ("/cache_size", "-1", false),
        ("/cache_size", "\"1\"", false),
        ("/cache_size", "true", false),
        ("/half", "5e-1", true),
        ("/half", "0", false),
        // The same double, another number.
        ("/big", "9007199254740992", false),
        ("/big", "9007199254740992.0", false),
        ("/most", "18446744073709551615", true),
        ("/most", "18446744073709551616", false),
        ("/most", "1e300", false),
        ("/list", "[1.0, {\"a\": 2e0}]", true),
        ("/list", "[1.0, {\"a\": 2e0, \"b\": 1}]", false),
        ("/list", "[1.0]", false),
        ("/list/1", "{\"a\": 2.0}", true),
        ("/default_ttl", "\"60s\"", true),
        ("/default_ttl", "\"1m\"", false),
        ("/breaker", "{\"open_wait\": \"60s\", \"enabled\": true}", false),
        ("/missing", "null", false),
        ("/data/default_ttl", "\"1m\"", true),
        ("/data/default_ttl", "\"short\"", true),
        ("/data/default_ttl", "\"61s\"", false),
        ("/data/default_ttl", "\"soon\"", false),
        ("/data/cache_size", "\"1\"", true),
        ("/data/cache_size", "1.0", true),
        ("/data/cache_size", "\"2\"", false),
        ("/data/max_object_size", "null", true),
        ("/data/breaker.open_wait", "\"60s\"", true),
        ("/data/breaker.open_wait", "\"2m\"", false),
        ("/data/breaker.enabled", "\"true\"", true),
        ("/data/breaker.enabled", "\"false\"", false),
        (
            "/data/breaker",
            "\"{\\\"open_wait\\\": \\\"60s\\\", \\\"enabled\\\": true}\"",
            true,
        ),
        ("/data/nothing", "\"1\"", false),
    ] {
        let value: Value = serde_json::from_str(value).unwrap();
        let test = Change::Patch(json!([{"op": "test", "path": path, "value": value}]));
        match (test.apply(&present), passes) {
            (Ok(document), true) => assert_eq!(document, present),
            (Err(ChangeError::Operation { index: 0, .. }), false) => {}
            (result, _) => panic!("{path} {value}: {result:?}"),
        }
    }
}

#[test]
fn tests_see_what_the_operations_before_them_made() {
    let present = json!({"default_ttl": "60s"});
    let patch = |tested: &str| {
        Change::Patch(json!([
            {"op": "test", "path": "/data/default_ttl", "value": "1m"},
            {"op": "replace", "path": "/data/default_ttl", "value": "120s"},
            {"op": "test", "path": "/data/default_ttl", "value": tested}
        ]))
    };
    assert_eq!(patch("2m").apply(&present).unwrap()["default_ttl"], "120s");
    assert!(matches!(
        patch("1m").apply(&present),
        Err(ChangeError::Operation { index: 2, .. })
    ));
}

/// Each operation copies the whole document into itself.
fn doubling(operations: usize) -> Value {
    let copies = (0..operations).map(|n| json!({"op": "copy", "from": "", "path": format!("/c{n}")}));
    copies.collect()
}

#[test]
fn copies_are_counted_before_they_are_made() {
    let present = json!({"cache_size": 10});
    for operations in [20, 40, MAX_OPERATIONS] {
        let bomb = Change::Patch(doubling(operations));
        let begun = std::time::Instant::now();
        assert!(matches!(bomb.apply(&present), Err(ChangeError::TooLarge(_))));
        assert!(begun.elapsed() < std::time::Duration::from_millis(500));
    }
    let text = "x".repeat(100_000);
    let present = json!({"cache_size": 10, "a": text});
    let copy = |n: usize| json!({"op": "copy", "from": "/a", "path": format!("/b/{n}")});
    let over = [
        vec![json!({"op": "add", "path": "/b", "value": []})],
        (0..30).map(copy).collect(),
    ]
    .concat();
    assert_eq!(
        Change::Patch(over.into()).apply(&present),
        Err(ChangeError::TooLarge(TooLarge::Text))
    );
}

#[test]
fn depth_and_operations_are_bounded() {
    let present = json!({"a": {}});
    let deeper = |kind: &str| -> Value {
        let moves = (0..100).flat_map(|n| {
            let (from, to) = (format!("/n{n}"), format!("/n{}/a", n + 1));
            [
                json!({"op": "add", "path": format!("/n{}", n + 1), "value": {}}),
                json!({"op": kind, "from": from, "path": to}),
            ]
        });
        std::iter::once(json!({"op": "add", "path": "/n0", "value": {}}))
            .chain(moves)
            .collect()
    };
    for kind in ["move", "copy"] {
        assert_eq!(
            Change::Patch(deeper(kind)).apply(&present),
            Err(ChangeError::TooLarge(TooLarge::Depth)),
            "{kind}"
        );
    }
    let test = json!({"op": "test", "path": "/a", "value": {}});
    let tests = |count: usize| Change::Patch(vec![test.clone(); count].into());
    assert!(tests(MAX_OPERATIONS).apply(&present).is_ok());
    assert_eq!(
        tests(MAX_OPERATIONS + 1).apply(&present),
        Err(ChangeError::TooManyOperations)
    );
}

#[test]
fn what_does_not_apply_says_where() {
    let present = json!({"cache_size": 10});
    let test = Change::Patch(json!([
        {"op": "replace", "path": "/cache_size", "value": 1},
        {"op": "test", "path": "/cache_size", "value": 2}
    ]));
    assert!(matches!(
        test.apply(&present),
        Err(ChangeError::Operation { index: 1, .. })
    ));
    assert!(matches!(
        Change::Patch(json!({"op": "add"})).apply(&present),
        Err(ChangeError::NotAPatch(_))
    ));
    for document in [json!([]), json!(null), json!(5)] {
        assert_eq!(Change::Replace(document).apply(&present), Err(ChangeError::NotAnObject));
    }
}
