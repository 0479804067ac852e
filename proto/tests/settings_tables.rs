//! Settings documents and what is said about them, as tables.

use optimizer_proto::settings::{MAX_VIOLATIONS, Settings, Violation, check_key, key_pointer};
use serde_json::{Value, json};

fn table(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("a table is JSON")
}

/// Rows are `[path, code]` or `[path, code, part of the message]`.
fn assert_violations(case: &str, found: &[Violation], expected: &Value) {
    let rows = expected.as_array().expect("a list of violations");
    let listed: Vec<_> = found
        .iter()
        .map(|violation| (violation.path.as_str(), violation.code.as_str()))
        .collect();
    let wanted: Vec<_> = rows
        .iter()
        .map(|row| (row[0].as_str().unwrap(), row[1].as_str().unwrap()))
        .collect();
    assert_eq!(listed, wanted, "{case}: {found:?}");
    for (violation, row) in found.iter().zip(rows) {
        let part = row.get(2).and_then(Value::as_str).unwrap_or_default();
        assert!(
            violation.message.contains(part),
            "{case}: {} lacks {part}",
            violation.message
        );
    }
}

#[test]
fn bad_documents_are_refused_with_every_violation() {
    for case in table(include_str!("bad_settings.json")) {
        let name = case["name"].as_str().unwrap();
        let violations = Settings::parse(&case["document"]).expect_err(name);
        assert_violations(name, &violations, &case["violations"]);
    }
}

#[test]
fn good_documents_take_their_canonical_form() {
    for case in table(include_str!("good_settings.json")) {
        let name = case["name"].as_str().unwrap();
        let (settings, notices) =
            Settings::parse(&case["document"]).unwrap_or_else(|found| panic!("{name}: {found:?}"));
        let canonical = settings.to_json();
        for (pointer, expected) in case["expect"].as_object().unwrap() {
            assert_eq!(
                canonical.pointer(pointer).unwrap_or(&Value::Null),
                expected,
                "{name}: {pointer}"
            );
        }
        let listed: Vec<_> = notices
            .iter()
            .map(|notice| json!([notice.path, notice.message]))
            .collect();
        assert_eq!(Value::from(listed), case["notices"], "{name}");
        assert_eq!(Settings::parse(&canonical), Ok((settings, Vec::new())), "{name}");
    }
}

#[test]
fn keys_are_judged_alone() {
    for case in table(include_str!("keys.json")) {
        let (key, text) = (case["key"].as_str().unwrap(), case["text"].as_str().unwrap());
        let name = format!("{key}={text}");
        match check_key(key, text) {
            Ok((value, notices)) => {
                assert_eq!(value, case["value"], "{name}");
                assert_eq!(notices.len() as u64, case["notices"].as_u64().unwrap_or(0), "{name}");
                assert!(key_pointer(key).is_some(), "{name}");
            }
            Err(violations) => assert_violations(&name, &violations, &case["violations"]),
        }
    }
}

#[test]
fn a_hostile_document_gets_a_bounded_answer() {
    let fields = (0..10_000)
        .map(|index| (format!("{index}-{}", "x".repeat(1_000)), Value::Null))
        .collect();
    let violations = Settings::parse(&Value::Object(fields)).expect_err("nothing of it is known");
    assert_eq!(violations.len(), MAX_VIOLATIONS);
    assert!(
        violations
            .iter()
            .all(|violation| violation.path.len() < 100 && violation.message.len() < 400)
    );
}

#[test]
fn too_many_routes_are_refused() {
    let routes: Vec<_> = (0..257).map(|index| json!({"name": format!("r{index}")})).collect();
    let violations = Settings::parse(&json!({ "routes": routes })).expect_err("257 routes");
    assert_violations("257 routes", &violations, &json!([["/routes", "too_long"]]));
}
