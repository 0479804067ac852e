//! The description of the API (OpenAPI 3.1), from what the handlers say of themselves and what is true of all of them.

use super::problem::ProblemDetails;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};

/// Completes a description: every operation has an id of its own and tells its problems, and objects have no other fields than
/// those described.
pub(super) fn completed(api: &OpenApi) -> Value {
    let mut api = serde_json::to_value(api).unwrap_or_default();
    let mut schemas = api["components"]["schemas"].take();
    if let Some(schemas) = schemas.as_object_mut() {
        let problem = serde_json::to_value(ProblemDetails::schema()).unwrap_or_default();
        schemas.insert(ProblemDetails::name().into_owned(), problem);
        let known = schemas.clone();
        schemas.values_mut().for_each(|schema| close(schema, &known));
    }
    api["components"]["schemas"] = schemas;
    // One of the tokens in AUTH_TOKENS_FILE, where there is one.
    api["components"]["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
    api["security"] = json!([{}, { "token": [] }]);
    for (path, item) in api["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            operation["operationId"] = json!(operation_id(method, path));
            if let Some(responses) = operation["responses"].as_object_mut() {
                tell_problems(responses);
            }
        }
    }
    api
}

/// `get` and `/cache/purges/{id}` make `get_cache_purges_id`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_alphanumeric());
    let words: Vec<&str> = std::iter::once(method)
        .chain(words.filter(|word| !word.is_empty()))
        .collect();
    words.join("_")
}

fn tell_problems(responses: &mut Map<String, Value>) {
    let reference = format!("#/components/schemas/{}", ProblemDetails::name());
    let content = json!({ "application/problem+json": { "schema": { "$ref": reference } } });
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) && response.get("content").is_none() {
            response["content"] = content.clone();
        }
    }
    // Credentials, limits and time-outs concern every operation.
    let other = json!({ "description": "Refused, with a stable code", "content": content });
    responses.entry("default").or_insert(other);
}

/// Refuses other fields than those described, here and in every schema within. Parts that serde flattens into their whole, which
/// make an `allOf`, become fields of it: none of the parts alone could refuse the others' fields.
fn close(schema: &mut Value, known: &Map<String, Value>) {
    if let Some(Value::Array(parts)) = schema.get_mut("allOf").map(Value::take) {
        let described = schema["description"].take();
        *schema = joined(&parts, known);
        if described.is_string() {
            schema["description"] = described;
        }
    }
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(|inner| close(inner, known));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| close(inner, known)),
        _ => {}
    }
}

/// One object with the fields of all parts.
fn joined(parts: &[Value], known: &Map<String, Value>) -> Value {
    let (mut properties, mut required, mut more) = (Map::new(), Vec::new(), None);
    for part in parts {
        let named = part["$ref"]
            .as_str()
            .and_then(|name| known.get(name.rsplit('/').next()?));
        let part = match named.unwrap_or(part) {
            part if part["allOf"].is_array() => &joined(part["allOf"].as_array().map_or(&[], Vec::as_slice), known),
            part => part,
        };
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
        required.extend(part["required"].as_array().cloned().unwrap_or_default());
        more = more.or_else(|| part.get("additionalProperties").cloned());
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": more.unwrap_or(Value::Bool(false)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_fields_of_the_whole_which_takes_no_others() {
        let object =
            |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
        let known = json!({"Part": object("a")});
        let mut schema = json!({"description": "whole", "allOf": [{"$ref": "#/components/schemas/Part"}, object("b")]});
        close(&mut schema, known.as_object().unwrap());
        assert_eq!(
            schema,
            json!({
                "description": "whole",
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "required": ["a", "b"],
                "additionalProperties": false,
            })
        );
        let mut open = json!({"properties": {}, "additionalProperties": {}});
        close(&mut open, &Map::new());
        assert_eq!(open["additionalProperties"], json!({}));
    }

    #[test]
    fn operations_are_named_after_what_they_are_asked_by() {
        assert_eq!(operation_id("get", "/cache/purges/{id}"), "get_cache_purges_id");
    }
}
