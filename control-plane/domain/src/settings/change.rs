//! What may be asked of the settings document, and what becomes of it before it is checked.

use crate::settings::shape::{Size, TooLarge};
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
mod tests;
