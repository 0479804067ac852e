//! The description of the API (OpenAPI 3.1), from what the handlers say of themselves and what is true of all of them.

use super::problem::ProblemDetails;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};

/// Status, why, and which operations answer with it.
type General = (&'static str, &'static str, fn(&Operation) -> bool);

/// What every operation can answer besides what its handler says of itself.
const GENERAL: [General; 11] = [
    ("400", "A parameter or the path is not as described", |operation| {
        operation.has_parameters
    }),
    (
        "401",
        "A token is needed, or the one that was given is not known",
        |_| true,
    ),
    ("403", "The role is too small, or a page of another site asks", |_| true),
    (
        "408",
        "The body broke off, or paused for longer than BODY_PAUSE",
        |operation| operation.has_body,
    ),
    ("413", "The body is larger than is taken", |operation| {
        operation.has_body
    }),
    ("415", "A body of this type is not taken", |operation| operation.writes),
    ("421", "The Host is not one of this control plane", |_| true),
    ("422", "The body is refused; nothing has changed", |operation| {
        operation.has_body
    }),
    ("429", "More writes than are taken per second", |operation| {
        operation.writes
    }),
    ("503", "Too much is asked or received at the moment", |_| true),
    ("504", "It took longer than a minute and was given up on", |operation| {
        !super::NO_TIMEOUT.contains(&operation.path)
    }),
];

/// What of an operation decides on its general answers.
struct Operation<'o> {
    path: &'o str,
    writes: bool,
    has_parameters: bool,
    has_body: bool,
}

/// Completes a description: every operation has an id of its own and tells every refusal, objects have no other fields than those
/// described, and numbers their ranges. `guarded`: a token is asked for.
pub(super) fn completed(api: &OpenApi, guarded: bool) -> Value {
    let mut api = serde_json::to_value(api).unwrap_or_default();
    let mut schemas = api["components"]["schemas"].take();
    if let Some(schemas) = schemas.as_object_mut() {
        let problem = serde_json::to_value(ProblemDetails::schema()).unwrap_or_default();
        schemas.insert(ProblemDetails::name().into_owned(), problem);
        let known = schemas.clone();
        schemas.values_mut().for_each(|schema| close(schema, &known));
        schemas.values_mut().for_each(describe_ranges);
        // What the settings are is said by their own rows.
        schemas.extend(optimizer_proto::settings::api_schemas());
    }
    api["components"]["schemas"] = schemas;
    api["components"]["responses"] = general_answers();
    // One of the tokens in AUTH_TOKENS_FILE, where there is one.
    api["components"]["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
    api["security"] = if guarded {
        json!([{ "token": [] }])
    } else {
        json!([{}, { "token": [] }])
    };
    for (path, item) in api["paths"].as_object_mut().into_iter().flatten() {
        for (method, described) in item.as_object_mut().into_iter().flatten() {
            described["operationId"] = json!(operation_id(method, path));
            if let Some(parameters) = described.get_mut("parameters") {
                describe_ranges(parameters);
            }
            let operation = Operation {
                path,
                writes: method != "get",
                has_parameters: described.get("parameters").is_some(),
                has_body: described.get("requestBody").is_some(),
            };
            if let Some(responses) = described["responses"].as_object_mut() {
                describe_problems(responses, &operation);
            }
        }
    }
    api
}

/// `get` and `/cache/purges/{id}` make `get_cache_purges_id`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_alphanumeric());
    let words: Vec<&str> = std::iter::once(method)
        .chain(words.filter(|as_str| !as_str.is_empty()))
        .collect();
    words.join("_")
}

fn problem() -> Value {
    let reference = format!("#/components/schemas/{}", ProblemDetails::name());
    json!({ "application/problem+json": { "schema": { "$ref": reference } } })
}

fn general_answers() -> Value {
    let answers = GENERAL.map(|(status, why, _)| {
        let answer = json!({ "description": why, "content": problem() });
        (format!("Refused{status}"), answer)
    });
    Value::Object(answers.into_iter().collect())
}

fn describe_problems(responses: &mut Map<String, Value>, operation: &Operation) {
    let content = problem();
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) && response.get("content").is_none() {
            response["content"] = content.clone();
        }
    }
    for (status, _, _) in GENERAL.iter().filter(|(_, _, concerns)| concerns(operation)) {
        let reference = json!({ "$ref": format!("#/components/responses/Refused{status}") });
        responses.entry(*status).or_insert(reference);
    }
}

/// Describes how large a number may be: the formats of unsigned integers are not known to everybody.
fn describe_ranges(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let most = match fields.get("format").and_then(Value::as_str) {
                Some("uint8") => Some(u64::from(u8::MAX)),
                Some("uint16") => Some(u64::from(u16::MAX)),
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint64") => Some(u64::MAX),
                _ => None,
            };
            if let Some(most) = most {
                fields.entry("maximum").or_insert(json!(most));
            }
            fields.values_mut().for_each(describe_ranges);
        }
        Value::Array(items) => items.iter_mut().for_each(describe_ranges),
        _ => {}
    }
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
