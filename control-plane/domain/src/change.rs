//! What may be asked of the settings document, and what becomes of it before it is checked.

use optimizer_proto::settings::key_pointer;
use serde_json::{Map, Value};

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
    let patch = in_document_paths(patch);
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|error| ChangeError::NotAPatch(error.to_string()))?;
    let mut document = present.clone();
    json_patch::patch(&mut document, &patch).map_err(|error| ChangeError::Operation {
        index: error.operation,
        path: error.path.to_string(),
        reason: error.kind.to_string(),
    })?;
    Ok(document)
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
