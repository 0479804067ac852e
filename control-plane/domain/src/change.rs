//! What may be asked of the settings document, and what becomes of it before it is checked.

use crate::shape::{Size, TooLarge};
use json_patch::PatchOperation;
use optimizer_proto::settings::key_pointer;
use serde_json::{Map, Value};

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
    let patch = in_document_paths(patch);
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|error| ChangeError::NotAPatch(error.to_string()))?;
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
