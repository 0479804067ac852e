//! What may be asked of the settings document, and what becomes of it before it is checked.

use crate::shape::{Size, TooLarge};
use json_patch::PatchOperation;
use optimizer_proto::settings::{check_key, key_pointer};
use serde_json::{Map, Number, Value};

/// Operations of one JSON Patch.
pub const MAX_OPERATIONS: usize = 1_000;

/// A change to the settings document, as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The whole document (`PUT`, restart, rollback).
    Replace(Value),
    /// JSON Merge Patch (RFC 7396).
    Merge(Value),
    /// JSON Patch (RFC 6902); paths may be those of the ConfigMap (`/data/cache_size`).
    Patch(Value),
}

/// Why a change could not be applied to the document at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not a JSON Patch document.
    #[error("this is no JSON Patch (RFC 6902): {0}")]
    NotAPatch(String),
    /// An operation that does not apply; `index` is its place in the patch.
    #[error("operation {index} ({path}) does not apply: {reason}")]
    Operation {
        /// Place in the patch, from 0.
        index: usize,
        /// Where it points to.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The document is not an object.
    #[error("a settings document is a JSON object")]
    NotAnObject,
    /// A JSON Patch of too many operations.
    #[error("a JSON Patch has at most {MAX_OPERATIONS} operations")]
    TooManyOperations,
    /// The change, or the document that it would make, is too large.
    #[error("the change is too large: {0}")]
    TooLarge(TooLarge),
}

impl Change {
    /// The document that would result, not checked yet.
    ///
    /// # Errors
    /// When the change does not fit the document.
    pub fn apply(&self, present: &Value) -> Result<Value, ChangeError> {
        let result = match self {
            Self::Replace(document) => document.clone(),
            Self::Merge(patch) => {
                let mut document = present.clone();
                json_patch::merge(&mut document, &without_data(patch.clone()));
                document
            }
            Self::Patch(patch) => apply_patch(present, patch)?,
        };
        Size::of(&result).check().map_err(ChangeError::TooLarge)?;
        if result.is_object() {
            Ok(result)
        } else {
            Err(ChangeError::NotAnObject)
        }
    }
}

/// A merge patch shaped like a ConfigMap (`{"data": {…}}`) means its content.
fn without_data(patch: Value) -> Value {
    match patch {
        Value::Object(mut map) if map.len() == 1 && map.get("data").is_some_and(Value::is_object) => {
            map.remove("data").unwrap_or(Value::Object(Map::new()))
        }
        other => other,
    }
}

fn apply_patch(present: &Value, patch: &Value) -> Result<Value, ChangeError> {
    if patch
        .as_array()
        .is_some_and(|operations| operations.len() > MAX_OPERATIONS)
    {
        return Err(ChangeError::TooManyOperations);
    }
    Size::of(patch).check().map_err(ChangeError::TooLarge)?;
    let written = patch;
    let patch: json_patch::Patch =
        serde_json::from_value(in_document_paths(patch)).map_err(|error| ChangeError::NotAPatch(error.to_string()))?;
    let mut document = present.clone();
    // All that the operations put in, copies included, whether or not it stays: each is counted before it is made.
    let mut made = Size::of(present);
    for (index, operation) in patch.iter().enumerate() {
        let (added, levels) = adds(operation, &document);
        made.add(added);
        let deepest = Size {
            depth: levels + added.depth,
            ..made
        };
        deepest.check().map_err(ChangeError::TooLarge)?;
        if passes(operation, config_map_key(written, index), &document) {
            continue;
        }
        // The document is a copy: one that a failed operation leaves half changed is dropped.
        json_patch::patch_unsafe(&mut document, std::slice::from_ref(operation)).map_err(|error| {
            ChangeError::Operation {
                index,
                path: error.path.to_string(),
                reason: error.kind.to_string(),
            }
        })?;
    }
    Ok(document)
}

/// Whether it is a `test` whose value is that of the document, by value (RFC 6902 section 4.6). Of a setting's key in a ConfigMap,
/// where every value is text, its meaning counts: `1m` is `60s`. One that does not pass is left to the library, which says why.
fn passes(operation: &PatchOperation, key: Option<&str>, document: &Value) -> bool {
    let PatchOperation::Test(test) = operation else {
        return false;
    };
    let present = document.pointer(test.path.as_str());
    present.is_some_and(|present| {
        is_equal(present, &test.value) || key.is_some_and(|key| means_the_same(key, present, &test.value))
    })
}

/// The ConfigMap's key that an operation was written for.
fn config_map_key(patch: &Value, index: usize) -> Option<&str> {
    patch.get(index)?.get("path")?.as_str()?.strip_prefix("/data/")
}

/// Equality of JSON values; numbers are equal when they are the same number, however they are written.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => is_same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, one)| other.get(name).is_some_and(|other| is_equal(one, other));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

fn is_same_number(one: &Number, other: &Number) -> bool {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        _ => false,
    }
}

/// The number, if it is a whole one: exactly, also where a floating-point number has no room for all its digits.
#[allow(clippy::cast_possible_truncation)]
fn whole(number: &Number) -> Option<i128> {
    let integer = number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from));
    let of_float = || {
        number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() < MAX_WHOLE)
            .map(|float| float as i128)
    };
    integer.or_else(of_float)
}

/// Beyond all integers that a JSON document here can hold (2^65); what is larger is compared as it is.
const MAX_WHOLE: f64 = 36_893_488_147_419_103_232.0;

/// Whether both are sound values of a setting, and the same one.
fn means_the_same(key: &str, one: &Value, other: &Value) -> bool {
    let meaning = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        check_key(key, &text).ok().map(|(value, _)| value)
    };
    meaning(one).is_some_and(|one| meaning(other) == Some(one))
}

/// What an operation puts into the document, and how many levels deep. What is moved is put in once more: looking at it costs time.
fn adds(operation: &PatchOperation, document: &Value) -> (Size, usize) {
    let at = |from: &str| document.pointer(from).map_or(Size::default(), Size::of);
    match operation {
        PatchOperation::Add(add) => (Size::of(&add.value), add.path.count()),
        PatchOperation::Replace(replace) => (Size::of(&replace.value), replace.path.count()),
        PatchOperation::Copy(copy) => (at(copy.from.as_str()), copy.path.count()),
        PatchOperation::Move(moved) => (at(moved.from.as_str()), moved.path.count()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => (Size::default(), 0),
    }
}

/// Paths of a ConfigMap become those of the document: `/data/cache_size` is `/cache_size`, `/data/breaker.open_wait` is
/// `/breaker/open_wait`.
fn in_document_paths(patch: &Value) -> Value {
    let Value::Array(operations) = patch else {
        return patch.clone();
    };
    let operations = operations
        .iter()
        .map(|operation| {
            let mut operation = operation.clone();
            for field in ["path", "from"] {
                if let Some(Value::String(path)) = operation.get_mut(field)
                    && let Some(key) = path.strip_prefix("/data/")
                {
                    *path = key_pointer(key).unwrap_or_else(|| format!("/{key}"));
                }
            }
            operation
        })
        .collect();
    Value::Array(operations)
}

#[cfg(test)]
mod tests {
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
}
