//! Fields by name: `breaker.probes`, or as a JSON Pointer (RFC 6901), `/breaker/probes`.

use crate::failure::Failure;
use serde_json::{Map, Value};

/// Deepest field that can be named.
const DEEPEST: usize = 32;

fn steps(field: &str) -> Result<Vec<String>, Failure> {
    let steps: Vec<String> = match field.strip_prefix('/') {
        Some(pointer) => pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect(),
        None => field.split('.').map(str::to_owned).collect(),
    };
    if steps.iter().any(String::is_empty) || steps.len() > DEEPEST {
        return Err(Failure::usage(format!(
            "{field} names no field: write breaker.probes or /breaker/probes"
        )));
    }
    Ok(steps)
}

fn child<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    match value {
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => value.get(step),
    }
}

/// A part of a document.
///
/// # Errors
/// The document has no such field.
pub(super) fn part<'v>(document: &'v Value, field: Option<&str>) -> Result<&'v Value, Failure> {
    let Some(field) = field else {
        return Ok(document);
    };
    let mut value = document;
    for step in steps(field)? {
        value = match child(value, &step) {
            Some(value) => value,
            None => return Err(unknown(field, &step, value)),
        };
    }
    Ok(value)
}

fn unknown(field: &str, step: &str, among: &Value) -> Failure {
    let known: Vec<&str> = among
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let known = if known.is_empty() {
        String::new()
    } else {
        format!("; there are {}", known.join(", "))
    };
    Failure::usage(format!("{field}: there is no {step}{known}"))
}

/// A part of a JSON Schema, found by the names of the document's fields.
///
/// # Errors
/// There is no such field.
pub(super) fn part_of_schema<'v>(schema: &'v Value, field: Option<&str>) -> Result<&'v Value, Failure> {
    let Some(field) = field else {
        return Ok(schema);
    };
    let mut part = schema;
    for step in steps(field)? {
        let below = resolved(schema, part);
        let next = match step.parse::<usize>() {
            Ok(_) if !below["items"].is_null() => Some(&below["items"]),
            _ => below["properties"].get(&step),
        };
        part = match next {
            Some(next) => next,
            None => return Err(unknown(field, &step, &below["properties"])),
        };
    }
    Ok(resolved(schema, part))
}

/// What a `$ref` within the same schema names.
fn resolved<'v>(schema: &'v Value, part: &'v Value) -> &'v Value {
    let named = part["$ref"]
        .as_str()
        .and_then(|name| schema.pointer(name.strip_prefix('#')?));
    named.unwrap_or(part)
}

/// A merge patch (RFC 7396) of `FIELD=VALUE`, whose values are JSON, or strings as they stand.
///
/// # Errors
/// One has no `=`, or two contradict each other.
pub(in crate::commands) fn merge_patch(fields: &[String]) -> Result<Value, Failure> {
    let mut patch = Value::Object(Map::new());
    for text in fields {
        let Some((field, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("{text}: write FIELD=VALUE")));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let mut place = &mut patch;
        for step in steps(field)? {
            let Value::Object(object) = place else {
                return Err(Failure::usage(format!(
                    "{field} is set to something and within at once"
                )));
            };
            place = object.entry(step).or_insert_with(|| Value::Object(Map::new()));
        }
        *place = value;
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(fields: &[&str]) -> Result<Value, Failure> {
        merge_patch(&fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_json_or_strings() {
        let made = patch(&[
            "breaker.probes=5",
            "/breaker/window=20s",
            "cache_enabled=false",
            "default_ttl=null",
        ])
        .unwrap();
        let expected = json!({"breaker": {"probes": 5, "window": "20s"}, "cache_enabled": false, "default_ttl": null});
        assert_eq!(made, expected);
    }

    #[test]
    fn what_names_no_field_is_told() {
        for wrong in [&["probes"][..], &["=5"], &["a..b=1"], &["a=1", "a.b=2"]] {
            assert!(patch(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_part_is_found_by_either_spelling_and_an_unknown_one_tells_the_known() {
        let document = json!({"breaker": {"probes": 3}, "routes": [{"name": "a"}]});
        assert_eq!(part(&document, Some("breaker.probes")).unwrap(), &json!(3));
        assert_eq!(part(&document, Some("/routes/0/name")).unwrap(), &json!("a"));
        let message = part(&document, Some("breaker.prob")).unwrap_err().to_string();
        assert_eq!(message, "breaker.prob: there is no prob; there are probes");
    }

    #[test]
    fn a_part_of_a_schema_is_found_through_references() {
        let schema = json!({"properties": {"routes": {"items": {"$ref": "#/$defs/route"}}},
            "$defs": {"route": {"properties": {"name": {"type": "string"}}}}});
        assert_eq!(
            part_of_schema(&schema, Some("routes.0.name")).unwrap(),
            &json!({"type": "string"})
        );
        assert!(part_of_schema(&schema, Some("routes.0.nam")).is_err());
    }
}
